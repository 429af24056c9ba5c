// Layout Painter and Scene: the painter as the widget of their layout document, in both renderers of the frontend.
import { app } from '../../scripts/app.js'
import { api } from '../../scripts/api.js'
import { isForeign, layoutText, parseLayout } from './painter/document.js'
import { connectedPicture, fileAddress, nameOfFile, originOf, surroundings, valueOf } from './painter/graph.js'
import { speak, t } from './painter/texts.js'
import { Painter } from './painter/view.js'
import { leavePlace, takePlace } from './places.js'
import { residuals } from './residuals.js'

const WIDGET = 'CONES2_LAYOUT_PAINTER' // the widget type that the nodes' schemas name
const SCENE = 'Cones2Scene'
const LOOK_MILLISECONDS = 1000 // how soon a changed prompt shows on the chips
const MARGIN = 10 // of a DOM widget in the classic renderer
const PROPERTY = 'cones2_background'

/** @type {string | null} */
let lastResult = null
/** @type {string[]} */
let residualFiles = []

async function readResidualFiles () {
  const answer = await api.fetchApi('/object_info/Cones2LoadResidual') // its list has the demo's residuals, too
  const [type, more] = (answer.ok && (await answer.json()).Cones2LoadResidual?.input?.required?.file) || []
  residualFiles = (Array.isArray(type) ? type : more?.options) ?? []
}

const painterWidget = (node, name) => ({ widget: addPainter(node, name, node) })

// The painter of `source`'s layout as a widget of `node`: of that node itself, or of the node of a subgraph around it, whose
// own value `write` sets after an edit and `sync` reads every now and then.
export function addPainter (node, name, source, { write = () => {}, sync = () => {}, ...options } = {}) {
  speak(app.extensionManager?.setting?.get?.('Comfy.Locale'))
  const painter = new Painter({
    size: () => ({ width: sideOf(source, 'width', node), height: sideOf(source, 'height', node) }),
    around: () => (node.graph && source.graph ? surroundings(source, node, (file) => residuals.phrase(file)) : { names: [], files: {}, prompt: null }),
    cutout: (file) => residuals.picture(file),
    phrase: async (file) => (await residuals.load(file)).facts?.subject || nameOfFile(file),
    background: (kind) => (kind === 'result' ? lastResult : kind === 'none' ? null : connectedPicture(source, node) ?? source.cones2Background ?? null),
    changed: () => {
      write(painter.state.text)
      changed(node, painter)
    },
    forward,
    files: () => (source.comfyClass === SCENE ? residualFiles : null)
  })
  const widget = node.addDOMWidget(name, WIDGET, painter.element, {
    hideOnZoom: false,
    getValue: () => painter.foreign ?? painter.state.text,
    setValue: (text) => load(node, painter, text),
    getMinHeight: () => painter.heightAt(Math.max(200, node.size[0] - 2 * MARGIN)) + 2 * MARGIN,
    ...options
  })
  widget.cones2Painter = painter
  settleInPanel(widget, painter)
  const looking = setInterval(() => {
    sync()
    look(node, painter)
  }, LOOK_MILLISECONDS)
  const { onRemove } = widget
  widget.onRemove = function () {
    clearInterval(looking)
    leavePlace(node, painter.element)
    painter.remove()
    onRemove?.call(this)
  }
  return widget
}

// The properties panel draws widgets of its own canvas: there a sentence stands for the painter. It also sets the
// widget's width to its own, which the node would take over.
function settleInPanel (widget, painter) {
  Object.defineProperty(widget, 'width', { get: () => undefined, set () {} })
  const { draw } = widget
  widget.draw = function (context, node, width, y, ...more) {
    draw.call(this, context, node, width, y, ...more)
    if ([app.canvas.canvas, app.canvas.bgcanvas].includes(context.canvas)) return
    const { subjects } = painter.state.layout
    const regions = subjects.reduce((sum, { shapes }) => sum + shapes.filter((shape) => !shape.erase).length, 0)
    context.fillStyle = getComputedStyle(painter.frame).color
    context.font = '12px Inter, system-ui, sans-serif'
    context.fillText(t('{subjects} subjects, {shapes} shapes: draw in the node', { subjects: subjects.length, shapes: regions }), 12, y + 14)
  }
}

function load (node, painter, text) {
  painter.savedText = layoutText(parseLayout(text)) // loading is no edit
  painter.foreign = isForeign(text) ? text : null // kept as it is until something is drawn
  if (painter.foreign) painter.say(t('This layout cannot be read here: it is damaged, or of a newer version. Drawing replaces it.'))
  painter.backgroundKind = node.properties?.[PROPERTY] ?? 'auto'
  painter.state.load(text)
}

// An edit is a step of the workflow's own history too, and asks for another run.
function changed (node, painter) {
  painter.foreign = null
  if (!node.graph) return
  node.properties ??= {}
  node.properties[PROPERTY] = painter.backgroundKind
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker
  if (tracker?.captureCanvasState) tracker.captureCanvasState()
  else tracker?.checkState?.()
  node.setDirtyCanvas?.(true, true)
}

function look (node, painter) {
  if (node.graph && node.graph === app.canvas.graph && !painter.isLarge) takePlace(node, painter.element)
  if (!node.graph || !painter.element.isConnected || painter.pointer.gesture) return
  painter.look()
  if (!painter.foreign && !painter.state.subject && painter.around.names.length) painter.state.addSubjects(painter.around.names)
  const height = `${painter.heightAt(painter.stage.clientWidth || 300)}px`
  if (painter.element.style.minHeight !== height) painter.element.style.minHeight = height
  const [, wanted] = node.computeSize()
  if (node.size[1] < wanted - 1) {
    node.setSize([node.size[0], wanted])
    node.setDirtyCanvas?.(true, true)
  }
}

// The size of the picture: typed at the node, or in the number that is linked to it.
function sideOf (node, name, host) {
  const origin = node.graph && originOf(node, name, host)
  const typed = (origin && origin.widgets?.find((widget) => typeof widget.value === 'number')?.value) ?? (node.graph && valueOf(node, name, host))
  return Math.min(16384, Math.max(1, Number(typed) || 512))
}

function forward (event, kind) {
  const { canvas } = app
  if (kind === 'wheel') canvas.processMouseWheel(event)
  else if (kind === 'down') canvas.processMouseDown(event)
  else if (kind === 'move') canvas.processMouseMove(event)
  else canvas.processMouseUp(event)
}

export function painterOf (node) {
  return node?.widgets?.find((widget) => widget.cones2Painter)?.cones2Painter
}

app.registerExtension({
  name: 'cones2.layoutPainter',
  getCustomWidgets: () => ({ [WIDGET]: painterWidget }),
  async setup () {
    api.addEventListener('executed', ({ detail }) => {
      const images = detail?.output?.images
      if (Array.isArray(images) && images.length) lastResult = api.apiURL(fileAddress(images[images.length - 1]))
    })
    await readResidualFiles()
  },
  refreshComboInNodes: readResidualFiles,
  nodeCreated (node) {
    if (!painterOf(node)) return
    if (node.size[0] < 340) node.setSize([340, node.computeSize()[1]])
    const { onExecuted } = node
    node.onExecuted = function (output) {
      onExecuted?.apply(this, arguments)
      const shown = output?.cones2_background?.[0]
      if (shown) node.cones2Background = api.apiURL(fileAddress(shown))
    }
  }
})
