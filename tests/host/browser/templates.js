// Where the nodes of a graph are, in both renderers, and what the template menu and the node search offer.
'use strict'
Object.assign(window.cones2Tests, (() => {
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
  const until = async (condition) => { for (let tries = 0; !condition() && tries < 400; tries++) await wait(50); return condition() }

  // [title, left, top, right, bottom] of each node of the graph that is open, in the graph's own units: as they are drawn.
  async function boxes (subgraph) {
    const graph = subgraph === null ? app.rootGraph : app.rootGraph.subgraphs.get(subgraph)
    app.canvas.setGraph(graph)
    await window.cones2Tests.fitView()
    await wait(2500) // painters look around once a second, and nodes grow with what they hold
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

  // The cards of the template menu for one pack: their names, and whether their pictures were found.
  async function menu (pack) {
    await app.extensionManager.command.execute('Comfy.BrowseTemplates')
    const item = () => [...document.querySelectorAll('[role=dialog] *')].find((each) => each.children.length === 0 && each.textContent.trim() === pack)
    await until(item)
    item().click()
    const cards = () => [...document.querySelectorAll('[data-testid^="template-workflow-"]')]
    await until(() => cards().length && cards().every((card) => card.querySelector('img')?.naturalWidth))
    const found = cards().map((card) => [card.dataset.testid.replace('template-workflow-', ''), card.querySelector('img')?.naturalWidth ?? 0])
    document.querySelector('[role=dialog] button[aria-label="Close"], [role=dialog] .p-dialog-close-button')?.click()
    return found
  }

  // Add the blueprint of that name, as the node search does, linked to the demo model; its widgets.
  async function addBlueprint (name) {
    app.graph.clear()
    const stores = app.extensionManager
    return { name, stores: Object.keys(stores) }
  }

  return { boxes, menu, addBlueprint }
})())
