// Builds a workflow in the frontend from a description, so that the file is what Save would have written.
// Injected into the page; see graphs.py for the description.
'use strict'
window.cones2Build = (() => {
  const TITLE = LiteGraph.NODE_TITLE_HEIGHT
  const GAP = 92 // between nodes of a column; Nodes 2.0 draws them taller
  const MARGIN = 50 // between columns
  const settled = (milliseconds = 60) => new Promise((resolve) => setTimeout(resolve, milliseconds))

  function create (graph, { type, title, widgets = {}, color, mode, properties = {} }) {
    const node = LiteGraph.createNode(type)
    if (!node) throw new Error(`no node type ${type}`)
    graph.add(node)
    if (title) node.title = title
    if (mode) node.mode = mode
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

  const slotOf = (slots, name) => slots.findIndex((slot) => slot.name === name || slot.label === name)

  // [from, output, to, input]; an input of a growing list appears once the one before is connected.
  async function connect (nodes, [from, output, to, input]) {
    const start = slotOf(nodes[from].outputs, output)
    const end = nodes[to].findInputSlot(input)
    if (start < 0 || end < 0) {
      throw new Error(`no link ${from}.${output} → ${to}.${input}: ${nodes[from].outputs.map((s) => s.name)} → ${nodes[to].inputs.map((s) => s.name)}`)
    }
    if (!nodes[from].connect(start, nodes[to], end)) throw new Error(`${from}.${output} does not fit ${to}.${input}`)
    await settled()
  }

  // Columns side by side, the nodes of each below each other.
  function place (columns, nodes) {
    let x = 0
    for (const { width, nodes: items } of columns) {
      let y = 0
      for (const { key, tall = 0 } of items) {
        const node = nodes[key]
        node.setSize([width, tall])
        node.setSize([width, Math.max(node.computeSize()[1], tall)])
        node.pos = [x, y + TITLE]
        y += TITLE + node.size[1] + GAP
      }
      x += width + MARGIN
    }
  }

  // Nodes become one: its title, the names of its slots, the widgets that it shows, and slots that nothing is linked to.
  async function fold (graph, description, nodes) {
    const { key, title, inside, promoted, labels, free_inputs: freeInputs = [], free_outputs: freeOutputs = [] } = description
    const members = inside.flatMap((column) => column.nodes).map((item) => item.key)
    place(inside, nodes)
    const ids = Object.fromEntries(members.map((member) => [member, nodes[member].id]))
    const { subgraph, node } = graph.convertToSubgraph(new Set(members.map((member) => nodes[member])))
    await settled()
    const within = (member) => subgraph.getNodeById(ids[member])
    hideAll(subgraph, node) // the frontend shows those that it knows
    subgraph.name = node.title = title
    if (description.description) subgraph.description = description.description
    for (const slot of [...subgraph.inputs, ...subgraph.outputs, ...node.inputs, ...node.outputs]) {
      if (labels[slot.name]) slot.label = labels[slot.name]
    }
    for (const [name, member, input] of freeInputs) {
      const slot = within(member).inputs[within(member).findInputSlot(input)]
      subgraph.addInput(name, String(slot.type)).connect(slot, within(member))
    }
    for (const [name, member, output] of freeOutputs) {
      const slot = within(member).outputs[slotOf(within(member).outputs, output)]
      subgraph.addOutput(name, String(slot.type)).connect(slot, within(member))
    }
    for (const [member, widget, label] of promoted) promote(subgraph, within(member), widget, label)
    await settled(300)
    nodes[key] = node
  }

  // An input of a growing list outside loses its link to a node that goes into a subgraph, and the list shrinks.
  async function mend (graph, { key, inside }, nodes, links) {
    const members = itemsOf(inside).map((item) => item.key)
    for (const [from, output, to, input] of links) {
      if (!members.includes(from) || members.includes(to) || nodes[to].inputs[nodes[to].findInputSlot(input)]?.link != null) continue
      const host = nodes[key]
      const slot = slotOf(host.outputs, output)
      for (const id of [...(host.outputs[slot].links ?? [])]) if (graph.getNodeById(graph.getLink(id)?.target_id) === nodes[to]) graph.removeLink(id)
      host.outputs[slot].links = (host.outputs[slot].links ?? []).filter((id) => graph.getLink(id))
      host.connect(slot, nodes[to], nodes[to].findInputSlot(input))
      await settled()
    }
  }

  function hideAll (subgraph, node) {
    const shown = subgraph.inputs.filter((input, index) => node.inputs[index].link == null)
    for (const input of shown) subgraph.removeInput(input)
  }

  function promote (subgraph, node, name, label) {
    const slot = node.getSlotFromWidget(node.widgets.find((widget) => widget.name === name))
    const taken = subgraph.inputs.map((input) => input.name)
    let unique = name
    for (let number = 1; taken.includes(unique); number++) unique = `${name}_${number}`
    const input = subgraph.addInput(unique, String(slot.type))
    input.connect(slot, node)
    subgraph.renameInput(input, label)
  }

  const itemsOf = (columns) => columns.flatMap((column) => column.nodes).flatMap((item) => (item.inside ? [item, ...itemsOf(item.inside)] : [item]))

  // What the app view shows.
  function appData ({ inputs, outputs }, nodes) {
    for (const [key, name, label] of inputs) {
      const widget = nodes[key].widgets.find((each) => each.name === name)
      widget.label = nodes[key].getSlotFromWidget(widget).label = label
    }
    return {
      linearMode: true,
      linearData: {
        inputs: inputs.map(([key, widget, , description]) => [nodes[key].id, widget, ...(description ? [{ description }] : [])]),
        outputs: outputs.map((key) => nodes[key].id)
      }
    }
  }

  return async function build ({ columns, links, app: shown }) {
    await app.loadGraphData({ last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 }, true, true, 'build')
    const graph = app.rootGraph
    const items = itemsOf(columns)
    const nodes = Object.fromEntries(items.filter((item) => item.type).map((item) => [item.key, create(graph, item)]))
    for (const link of links) await connect(nodes, link)
    await settled(1500) // sizes follow the links, and painters what they show
    for (const item of items.filter((each) => each.inside)) {
      await fold(graph, item, nodes)
      await mend(graph, item, nodes, links)
    }
    await settled(1500)
    place(columns, nodes)
    for (const item of items.filter((each) => each.type === 'MarkdownNote')) await fitNote(nodes[item.key])
    const extra = Object.keys(shown ?? {}).length ? appData(shown, nodes) : {}
    return { ...graph.serialize(), extra }
  }

  // A note is as high as its text.
  async function fitNote (node) {
    await window.cones2Tests.fitView()
    await settled(1200) // it moves there, and the text is laid out
    const text = node.widgets[0].element.querySelector('.tiptap') ?? node.widgets[0].element
    const { offsetTop, offsetHeight } = text.lastElementChild
    node.setSize([node.size[0], offsetTop + offsetHeight + 60])
  }
})()
window.cones2Tests.build = window.cones2Build
