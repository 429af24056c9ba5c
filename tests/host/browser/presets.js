// Chooses a preset of a Layout Guided KSampler; which widgets are gray then, after saving and loading, and again as set.
'use strict'
window.cones2Tests.choosePreset = async (value) => {
  app.graph.clear()
  const node = LiteGraph.createNode('Cones2LayoutGuidedKSampler')
  app.graph.add(node)
  const gray = (from) => from.widgets.filter((widget) => widget.disabled).map((widget) => widget.name)
  const choose = (choice) => {
    const widget = node.widgets.find((candidate) => candidate.name === 'preset')
    widget.value = choice
    widget.callback(choice)
    return gray(node)
  }
  const before = gray(node)
  const chosen = choose(value)
  const saved = node.serialize()
  const loaded = LiteGraph.createNode(node.type)
  app.graph.add(loaded)
  loaded.configure(saved)
  return { before, chosen, loaded: gray(loaded), last: saved.widgets_values[node.widgets.findIndex((widget) => widget.name === 'preset')], after: choose('as set') }
}
