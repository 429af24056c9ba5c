// A subgraph that shows a layout among its own widgets: the painter stands on its node, in the place of the bare text.
import { app } from '../../scripts/app.js'
import { addPainter, painterOf } from './layout_painter.js'

const LAYOUT = 'layout_document'
const PREFIX = 'draw_' // of the painter's name, which must differ from the input's

// The node inside whose layout an input of a subgraph's node feeds, if it is one with a painter.
function sourceOf (host, index) {
  const { subgraph } = host
  for (const id of subgraph?.inputs?.[index]?.linkIds ?? []) {
    const link = subgraph.getLink(id)
    const node = link && subgraph.getNodeById(link.target_id)
    if (node && painterOf(node) && node.inputs[link.target_slot]?.name === LAYOUT) return node
  }
  return undefined
}

const isSettled = (host) => host.graph?.getNodeById(host.id) === host // a copy that is being made has no place yet
const painterFor = (host, name) => host.widgets.find((widget) => widget.name === PREFIX + name)
const textFor = (host, name) => host.widgets.find((widget) => widget.name === name)

// One painter for each layout that is shown, none for those that are no longer.
function settle (host) {
  if (!isSettled(host)) return
  const shown = host.inputs.map((input, index) => [input, sourceOf(host, index)]).filter(([input, source]) => source && input.link == null)
  const names = shown.map(([input]) => PREFIX + input.name)
  for (const widget of host.widgets.filter((each) => each.cones2Painter && !names.includes(each.name))) host.removeWidget(widget)
  for (const [{ name }, source] of shown) {
    if (!painterFor(host, name)) addFor(host, name, source)
    hideText(host, name)
  }
}

function addFor (host, name, source) {
  let known
  const sync = () => {
    hideText(host, name)
    const { value } = textFor(host, name) ?? {}
    if (typeof value !== 'string' || value === known) return
    known = value
    widget.value = value
  }
  const write = (text) => {
    known = text
    const own = textFor(host, name)
    if (own) own.value = text
  }
  const widget = addPainter(host, PREFIX + name, source, { write, sync, serialize: false })
  sync()
  if (host.size[0] < 340) host.setSize([340, host.computeSize()[1]])
}

function hideText (host, name) {
  const text = textFor(host, name)
  if (!text || text.hidden) return
  text.hidden = true // on the canvas
  if (text.options) text.options.hidden = true // in Vue nodes
}

app.registerExtension({
  name: 'cones2.promotedPainter',
  nodeCreated (node) {
    if (!node.isSubgraphNode?.()) return
    const soon = () => queueMicrotask(() => settle(node))
    for (const change of ['widget-promoted', 'widget-demoted', 'input-added', 'removing-input']) node.subgraph.events.addEventListener(change, soon)
    for (const hook of ['onAdded', 'onConfigure', 'onConnectionsChange']) {
      const before = node[hook]
      node[hook] = function (...values) {
        const result = before?.apply(this, values)
        soon()
        return result
      }
    }
    soon()
  }
})
