// The five-node graph around a Scene.
'use strict'
window.cones2Tests.openScene = async ({ prompt, files }) => {
  const empty = { id: crypto.randomUUID(), revision: 0, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 }
  await app.loadGraphData(empty, true, true, 'scene')
  const [demo, scene, sampler, decode, save] = ['Cones2LoadDemoModel', 'Cones2Scene', 'Cones2LayoutGuidedKSampler', 'VAEDecode', 'SaveImage'].map((type, index) => {
    const made = LiteGraph.createNode(type)
    made.pos = [20 + 380 * index, 60]
    app.graph.add(made)
    return made
  })
  const set = (node, name, value) => { node.widgets.find((widget) => widget.name === name).value = value }
  for (const [name, value] of Object.entries({ prompt, width: 64, height: 64 })) set(scene, name, value)
  for (const [name, value] of Object.entries({ steps: 2, seed: 1 })) set(sampler, name, value)
  for (const [from, output, to, input] of [[demo, 1, scene, 'clip'], [demo, 0, sampler, 'model'], [scene, 0, sampler, 'positive'], [scene, 1, sampler, 'negative'],
    [scene, 2, sampler, 'latent_image'], [sampler, 0, decode, 'samples'], [demo, 2, decode, 'vae'], [decode, 0, save, 'images']]) from.connect(output, to, input)
  app.canvas.ds.scale = 0.8
  app.canvas.ds.offset = [0, 0]
  const { cones2Painter: painter } = scene.widgets.find((widget) => widget.cones2Painter)
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
  for (let tries = 0; tries < 400 && !(painter.element.isConnected && painter.canvas.width > 10); tries++) await wait(50)
  for (const file of files) {
    const menu = [...painter.rowBox.querySelectorAll('select')].pop()
    menu.value = file
    menu.dispatchEvent(new Event('change'))
    const before = painter.state.layout.subjects.length // its phrase is asked for
    for (let tries = 0; tries < 400 && painter.state.layout.subjects.length === before; tries++) await wait(50)
    await wait(100)
  }
  return [...painter.rowBox.querySelectorAll('.c2p-row')].map((row) => [...row.querySelectorAll('input, select')].map((field) => field.value))
}
