// Builds a workflow in the frontend from a description, so that the file is what Save would have written.
// Injected into the page; see graphs.py for the description.
'use strict'
window.cones2Build = (() => {
  const TITLE = LiteGraph.NODE_TITLE_HEIGHT
  const GAP = 92 // between nodes of a group; Nodes 2.0 draws them taller
  const PADDING = 20 // between a group's border and its nodes
  const MARGIN = 40 // between groups
  const settled = (milliseconds = 60) => new Promise((resolve) => setTimeout(resolve, milliseconds))

  function create (graph, { type, title, widgets = {}, color, properties = {} }) {
    const node = LiteGraph.createNode(type)
    if (!node) throw new Error(`no node type ${type}`)
    graph.add(node)
    if (title) node.title = title
    Object.assign(node.properties, properties)
    if (color) [node.color, node.bgcolor] = [LGraphCanvas.node_colors[color].color, LGraphCanvas.node_colors[color].bgcolor]
    for (const [name, value] of Object.entries(widgets)) setWidget(node, name, value)
    return node
  }

  function setWidget (node, name, value) {
    const widget = node.widgets?.find((candidate) => candidate.name === name) ?? (name === 'text' ? node.widgets?.[0] : null)
    if (!widget) throw new Error(`${node.type} has no widget ${name}: ${node.widgets?.map((w) => w.name)}`)
    widget.value = value
  }

  // [from, output, to, input]; an input of a growing list appears once the one before is connected.
  async function connect (nodes, [from, output, to, input]) {
    const start = nodes[from].outputs.findIndex((slot) => slot.name === output || slot.label === output)
    const end = nodes[to].findInputSlot(input)
    if (start < 0 || end < 0) {
      throw new Error(`no link ${from}.${output} → ${to}.${input}: ${nodes[from].outputs.map((s) => s.name)} → ${nodes[to].inputs.map((s) => s.name)}`)
    }
    if (!nodes[from].connect(start, nodes[to], end)) throw new Error(`${from}.${output} does not fit ${to}.${input}`)
    await settled()
  }

  // Stacks a group's nodes below each other at (x, y); the y below the group.
  function placeGroup (graph, { title, color, nodes: items }, nodes, x, y, width) {
    let top = y + (title ? TITLE + PADDING : 0)
    for (const { key, tall = 0 } of items) {
      const node = nodes[key]
      const inner = width - (title ? 2 * PADDING : 0)
      node.setSize([inner, Math.max(node.computeSize()[1], tall)])
      node.pos = [x + (title ? PADDING : 0), top + TITLE]
      top += TITLE + node.size[1] + GAP
    }
    const bottom = top - GAP + (title ? PADDING : 0)
    if (title) {
      const group = new LiteGraph.LGraphGroup(title)
      Object.assign(group, { pos: [x, y], size: [width, bottom - y], color, font_size: 22 })
      graph.add(group)
    }
    return bottom
  }

  function place (graph, columns, nodes) {
    let x = 0
    for (const { width, groups } of columns) {
      let y = 0
      for (const group of groups) y = placeGroup(graph, group, nodes, x, y, width) + MARGIN
      x += width + MARGIN
    }
  }

  return async function build ({ columns, links }) {
    const graph = app.rootGraph
    graph.clear()
    const items = columns.flatMap((column) => column.groups).flatMap((group) => group.nodes)
    const nodes = Object.fromEntries(items.map((item) => [item.key, create(graph, item)]))
    for (const link of links) await connect(nodes, link)
    await settled(500) // sizes follow the links
    place(graph, columns, nodes)
    await settled()
    return graph.serialize()
  }
})()
window.cones2Tests.build = window.cones2Build
