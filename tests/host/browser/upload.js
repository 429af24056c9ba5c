// Drops files on a Load Guidance Config node; its config afterwards, and the options it offers.
'use strict'
window.cones2Tests.dropConfig = async (files) => {
  app.graph.clear()
  const node = LiteGraph.createNode('Cones2LoadGuidanceConfig')
  app.graph.add(node)
  const dropped = Object.entries(files).map(([name, text]) => new File([text], name))
  await node.onDragDrop({ dataTransfer: { files: dropped } })
  const widget = node.widgets.find((candidate) => candidate.name === 'config')
  const { output } = await app.graphToPrompt()
  return { value: widget.value, buttons: node.widgets.filter((w) => w.type === 'button').length, sent: Object.values(output)[0].inputs.config }
}
