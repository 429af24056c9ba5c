// Where the nodes of a graph are, in both renderers, what the template menu shows, and where a user would press.
'use strict'
Object.assign(window.cones2Tests, (() => {
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
  const until = async (condition) => { for (let tries = 0; !condition() && tries < 600; tries++) await wait(50); return condition() }
  const middle = (element) => { const box = element.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2] }

  // The ids of the subgraphs, null for the graph itself.
  const graphs = () => [null, ...app.rootGraph.subgraphs.keys()]

  // [title, left, top, right, bottom] of each node of a graph, in the graph's own units: as they are drawn.
  async function boxes (subgraph) {
    const graph = subgraph === null ? app.rootGraph : app.rootGraph.subgraphs.get(subgraph)
    app.canvas.setGraph(graph)
    await window.cones2Tests.fitView()
    await wait(1800) // painters look around once a second, and nodes grow with what they hold
    const { scale, offset } = app.canvas.ds
    const canvas = app.canvas.canvas.getBoundingClientRect()
    const found = graph.nodes.map((node) => {
      const drawn = document.querySelector(`[data-node-id="${CSS.escape(String(node.id))}"]`)
      if (drawn) {
        const box = drawn.getBoundingClientRect()
        const [x, y] = [(box.left - canvas.left) / scale - offset[0], (box.top - canvas.top) / scale - offset[1]]
        return [node.title, x, y, x + box.width / scale, y + box.height / scale]
      }
      const [x, y, width, height] = node.boundingRect
      return [node.title, x, y, x + width, y + height]
    })
    app.canvas.setGraph(app.rootGraph)
    return found
  }

  const cards = () => [...document.querySelectorAll('[data-testid^="template-workflow-"]')]
  const leaf = (text) => [...document.querySelectorAll('[role=dialog] *')].find((each) => !each.children.length && each.textContent.trim() === text)

  // Where to press, once it is there: the templates' button, a pack in their menu, a card, the Run button.
  async function find ([what, name]) {
    const places = {
      templates: () => document.querySelector('.templates-tab-button'),
      pack: () => leaf(name),
      card: () => cards().find((card) => card.dataset.testid === `template-workflow-${name}`),
      run: () => document.querySelector('[data-testid="queue-button"]')
    }
    const element = await until(places[what])
    element.scrollIntoView?.({ block: 'nearest' })
    await wait(400)
    return middle(element)
  }

  // The cards that the menu shows: their names, and how wide their pictures are.
  async function shownCards () {
    await until(() => cards().length && cards().every((card) => card.querySelector('img')?.naturalWidth))
    return Object.fromEntries(cards().map((card) => [card.dataset.testid.replace('template-workflow-', ''), card.querySelector('img')?.naturalWidth ?? 0]))
  }

  // What an opened template holds, once its painter is there.
  async function opened () {
    await until(() => app.rootGraph.nodes.some((node) => node.widgets?.some((widget) => widget.cones2Painter?.canvas.width > 10 && widget.cones2Painter.element.isConnected)))
    await wait(1500)
    return app.rootGraph.nodes.map((node) => node.type)
  }

  // How many pictures each node shows.
  const picturesShown = () => Object.fromEntries(app.rootGraph.nodes.filter((node) => node.imgs?.length || app.nodeOutputs?.[node.id]?.images?.length).map((node) => [node.type, node.imgs?.length || app.nodeOutputs[node.id].images.length]))

  // The fields of the app view.
  async function appFields () {
    const items = () => [...document.querySelectorAll('[data-testid="app-mode-widget-item"]')]
    await until(() => items().length && document.querySelector('[data-testid="app-mode-widget-item"] canvas'))
    await wait(1500)
    return items().map((item) => item.querySelector('[data-testid="builder-widget-label"]').innerText)
  }

  // Open the node search; wait for an entry in it, and for the chosen node to follow the pointer.
  async function openSearch () {
    await app.extensionManager.command.execute('Workspace.SearchBox.Toggle')
    return until(() => document.activeElement.matches('input[placeholder*="node"]'))
  }
  const searchFound = (text) => until(() => [...document.querySelectorAll('[data-testid=result-item]')].some((each) => each.innerText.includes(text)))
  const nodeFollows = () => until(() => app.canvas.state.ghostNodeId != null)

  // The blueprints that the server gives to the node search, and the one node of a graph, with its widgets.
  const blueprints = async () => Object.values(await (await window.comfyAPI.api.api.fetchApi('/global_subgraphs')).json()).map((each) => each.name)
  async function onlyNode () {
    await until(() => app.rootGraph.nodes.length === 1)
    await wait(1500)
    const [node] = app.rootGraph.nodes
    return { title: node.title, inputs: node.inputs.filter((input) => !input.widget).map((input) => input.name), outputs: node.outputs.map((output) => output.name), widgets: node.widgets.filter((widget) => !widget.hidden).map((widget) => widget.label ?? widget.name) }
  }

  // The demo model, a picture file and the words of a scene around the only node.
  async function completeBlueprint () {
    const [node] = app.rootGraph.nodes
    const [model, save] = ['Cones2LoadDemoModel', 'SaveImage'].map((type, index) => {
      const made = LiteGraph.createNode(type)
      made.pos = [node.pos[0] + (index ? 560 : -360), node.pos[1]]
      app.graph.add(made)
      return made
    })
    for (const [slot, name] of ['model', 'clip', 'vae'].entries()) model.connect(slot, node, node.findInputSlot(name))
    node.connect(0, save, 'images')
    for (const [name, value] of Object.entries({ prompt: 'a dog and a mug on the grass', width: 64, height: 64, steps: 2 })) {
      const widget = node.widgets.find((each) => each.name === name)
      widget.value = value
      widget.callback?.(value)
    }
    await showPainter()
  }

  // Move the view until the painter lies still in the middle of it.
  async function showPainter () {
    const { ds } = app.canvas
    ds.scale = 0.7
    for (let before = '', now = null; before !== now; [before, now] = [now, JSON.stringify(window.cones2Tests.where())]) {
      const { x, y } = window.cones2Tests.where()
      ds.offset = [ds.offset[0] + (420 - x) / ds.scale, ds.offset[1] + (360 - y) / ds.scale]
      app.canvas.setDirty(true, true)
      await wait(1200)
    }
  }

  return { graphs, boxes, find, shownCards, opened, picturesShown, appFields, blueprints, openSearch, searchFound, nodeFollows, onlyNode, completeBlueprint }
})())
