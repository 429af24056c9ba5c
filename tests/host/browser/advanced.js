// Presses the button for more settings of a node; its widgets in sight and its height before, then, and after another press.
'use strict'
window.cones2Tests.moreSettings = async (type) => {
  app.graph.clear()
  const node = LiteGraph.createNode(type)
  app.graph.add(node)
  const look = () => ({ names: node.widgets.filter((widget) => !widget.hidden).map((widget) => widget.name), height: node.size[1] })
  const button = node.widgets.find((widget) => widget.name === 'more_settings')
  const before = [look(), button.label]
  button.callback()
  const then = [look(), button.label]
  button.callback()
  return [before, then, [look(), button.label]]
}
