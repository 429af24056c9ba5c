// Runs a Save Residual node that must fail, under a title of its own; the error's sentence and the messages that appear.
'use strict'
window.cones2Tests.failToSave = async (name) => {
  app.graph.clear()
  const [load, save] = ['Cones2LoadResidual', 'Cones2SaveResidual'].map((type) => LiteGraph.createNode(type))
  for (const node of [load, save]) app.graph.add(node)
  load.connect(0, save, 0)
  save.title = 'Keep it'
  save.widgets.find((widget) => widget.name === 'name').value = name
  const sentence = await window.cones2Tests.run()
  const toasts = () => [...document.querySelectorAll('.p-toast-message')].map((box) => box.innerText)
  for (let tries = 100; tries && !toasts().some((text) => text.includes(sentence.trim())); tries--) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return { sentence, toasts: toasts() }
}
