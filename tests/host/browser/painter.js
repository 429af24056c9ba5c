// A Layout Painter with a prompt and a subject around it, and what the tests ask about it.
'use strict'
Object.assign(window.cones2Tests, (() => {
  const first = (type) => app.rootGraph.nodes.find((node) => node.type === type)
  const drawable = (each) => each.widgets?.some((one) => one.cones2Painter)
  const node = () => app.rootGraph.nodes.find(drawable) ?? app.canvas.graph.nodes.find(drawable)
  const widget = () => node().widgets.find((each) => each.cones2Painter)
  const painter = () => widget().cones2Painter
  const until = async (condition) => { for (let tries = 0; !condition() && tries < 400; tries++) await wait(50) }
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

  function add (type, x, y) {
    const made = LiteGraph.createNode(type)
    made.pos = [x, y]
    app.graph.add(made)
    return made
  }

  async function empty () {
    const nothing = { id: crypto.randomUUID(), revision: 0, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 }
    await app.loadGraphData(nothing, true, true, 'painter')
  }

  // The demo model, its prompt, a residual and a sampler around a painter.
  async function openPainter ({ scale = 1, text = 'a dog and a mug', image = null, width = 64, height = 64 } = {}) {
    await empty()
    const [demo, load, words, apply, sampler] = ['Cones2LoadDemoModel', 'Cones2LoadResidual', 'Cones2TextEncode', 'Cones2ApplyResidualToConditioning', 'Cones2LayoutGuidedKSampler'].map((type, index) => add(type, 20, 40 + 170 * index))
    const painted = add('Cones2LayoutPainter', 380, 40)
    load.widgets[0].value = 'blue_white_dog.safetensors'
    words.widgets[0].value = text
    painted.widgets[0].value = width
    painted.widgets[1].value = height
    demo.connect(1, words, 'clip')
    words.connect(0, apply, 'conditioning')
    load.connect(0, apply, 'residuals.residual0')
    apply.connect(0, sampler, 'positive')
    painted.connect(0, sampler, 'layout')
    const preview = add('PreviewImage', 800, 40)
    const masks = add('MaskToImage', 800, 340)
    const shown = add('PreviewImage', 800, 440)
    painted.connect(2, preview, 'images')
    painted.connect(1, masks, 'mask')
    masks.connect(0, shown, 'images')
    if (image) {
      const picture = add('LoadImage', 20, 900)
      picture.widgets[0].value = image
      picture.connect(0, painted, 'image')
    }
    app.canvas.ds.scale = scale
    app.canvas.ds.offset = [0, 0]
    app.canvas.setDirty(true, true)
    await until(() => painter().state.subject && painter().canvas.width > 10) // it looks around once a second
    await wait(300)
    return where()
  }

  // The picture of the painter on the page, in pixels.
  function where () {
    const box = painter().canvas.getBoundingClientRect()
    return { x: box.left, y: box.top, width: box.width, height: box.height, pixels: [painter().canvas.width, painter().canvas.height] }
  }

  // Wait until the painter keeps its place: it looks at its node once a second, and a tool's own row makes the node grow.
  async function rest () {
    for (let tries = 0, still = 0, before = ''; still < 15 && tries < 200; tries++) {
      await wait(100)
      const now = JSON.stringify(where())
      still = now === before ? still + 1 : 0
      before = now
    }
  }

  const layout = () => JSON.parse(widget().value || '{"subjects": []}').subjects
  const documentText = () => widget().value
  const chips = () => [...painter().chipRow.querySelectorAll('.c2p-chip')].map((chip) => [chip.innerText.trim(), chip.className.replace('c2p-chip', '').trim()])
  const setText = async (text) => { first('Cones2TextEncode').widgets[0].value = text; await until(() => painter().around.prompt === text); await wait(100) }
  const history = () => { const { changeTracker } = app.extensionManager.workflow.activeWorkflow; return changeTracker.undoQueue.length }

  // Save the workflow and open it again.
  async function reopen () {
    const saved = JSON.parse(JSON.stringify(app.rootGraph.serialize()))
    await app.loadGraphData(saved, true, true, 'again')
    await until(() => node() && painter().state.subject)
    return layout()
  }

  // Copy and paste of the node, as Ctrl+C and Ctrl+V do it: the layouts of all painters.
  async function copyNode () {
    app.canvas.selectNodes([node()])
    app.canvas.copyToClipboard()
    app.canvas.pasteFromClipboard()
    await wait(500)
    return app.graph.nodes.filter((each) => each.type === 'Cones2LayoutPainter').map((each) => each.widgets.find((one) => one.cones2Painter).value)
  }

  // Put the painter into a subgraph; what would be sent from there.
  async function intoSubgraph () {
    app.canvas.selectNodes([node()])
    app.canvas.graph.convertToSubgraph(new Set([node()]))
    await wait(500)
    const { output } = await app.graphToPrompt()
    return Object.values(output).find((each) => each.class_type === 'Cones2LayoutPainter').inputs.layout_document
  }

  // Put the painter into a subgraph whose node shows it, as "promote widget" does.
  async function promote () {
    const { subgraph, node: host } = app.canvas.graph.convertToSubgraph(new Set([node()]))
    await wait(300)
    const inner = subgraph.nodes.find(drawable)
    const slot = inner.getSlotFromWidget(inner.widgets.find((each) => each.cones2Painter))
    subgraph.addInput('layout_document', String(slot.type)).connect(slot, inner)
    host.pos = [380, 40]
    await until(() => drawable(host) && painter().canvas.width > 10 && painter().element.isConnected)
    await wait(1200)
    return host.widgets.filter((each) => !each.hidden).map((each) => each.name)
  }

  // The layouts of all painters that would be sent, by id.
  async function sent () {
    const { output } = await app.graphToPrompt()
    const found = Object.entries(output).filter(([, each]) => each.inputs.layout_document !== undefined)
    return Object.fromEntries(found.map(([id, each]) => [id, each.inputs.layout_document]))
  }

  // Copy and paste of a subgraph's node; how many painters there are then.
  async function copyHost () {
    app.canvas.selectNodes([node()])
    app.canvas.copyToClipboard()
    app.canvas.pasteFromClipboard()
    await wait(1500)
    return app.rootGraph.nodes.filter((each) => each.subgraph && drawable(each)).length
  }

  // What the properties panel does with a widget: it sets its width and draws it on a canvas of its own.
  async function drawInPanel () {
    const before = painter().element.clientWidth
    const canvas = document.createElement('canvas')
    const written = []
    const context = canvas.getContext('2d')
    context.fillText = (text) => written.push(text)
    widget().width = 100
    widget().draw(context, node(), 100, 1, 100)
    app.canvas.setDirty(true, true)
    await wait(500)
    return { written, same: painter().element.clientWidth === before }
  }

  // A text from elsewhere in the painter; what would be sent, and after a first shape.
  function foreign (text) {
    widget().value = text
    const kept = widget().value
    painter().state.addSubjects(['dog'])
    return [kept, layout().length]
  }

  const drop = async (files) => {
    const data = new DataTransfer()
    for (const [name, bytes] of Object.entries(files)) data.items.add(new File([Uint8Array.from(bytes)], name))
    painter().frame.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))
    await wait(800)
    return { layout: layout(), said: painter().said.hidden ? '' : painter().said.innerText }
  }

  const pointOf = (name) => {
    const found = [...painter().frame.querySelectorAll('button, input, select')].find((each) => (each.getAttribute('aria-label') ?? each.textContent.trim()) === name)
    const box = found.getBoundingClientRect()
    return [box.left + box.width / 2, box.top + box.height / 2]
  }

  const background = async () => { await until(() => painter().image); return Boolean(painter().image) }
  const scaleOf = () => app.canvas.ds.scale
  const canUndo = () => painter().state.past.length

  return { openPainter, empty, where, rest, layout, documentText, chips, setText, history, reopen, copyNode, intoSubgraph, promote, sent, copyHost, drawInPanel, foreign, drop, pointOf, background, scaleOf, canUndo }
})())
