// Load Residual: what is in the chosen file, with the pictures of its subject, and a place for new files. One element in
// both renderers of the frontend.
import { app } from '../../scripts/app.js'
import { element } from './painter/elements.js'
import { pickFiles } from './painter/files.js'
import { speak, t } from './painter/texts.js'
import { leavePlace, takePlace } from './places.js'
import { residuals, uploadResidual } from './residuals.js'
import { choose, takeDrops, tell } from './uploads.js'

const NODE = 'Cones2LoadResidual'
const NAME = 'Load Residual'
const ENDINGS = ['.safetensors', '.pt']
const HEIGHT = 52 // pixels
const WIDTH = 300 // names of files are long
const MOST_PICTURES = 3
const LOOK_MILLISECONDS = 500
const CSS = `
.c2r { display: flex; align-items: center; gap: 6px; box-sizing: border-box; width: 100%; height: ${HEIGHT}px; min-width: 0; padding: 3px; border-radius: 6px;
  overflow: hidden; color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222); font: 12px/1.3 Inter, system-ui, sans-serif; }
.c2r img { height: 46px; width: 46px; object-fit: contain; flex: 0 0 auto; border-radius: 4px; background: #8884; }
.c2r img + img { margin-left: -22px; }
.c2r div { flex: 1 1 0; min-width: 0; overflow: hidden; }
.c2r b, .c2r span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.c2r b { font-weight: 600; } .c2r span { opacity: .75; } .c2r span.wrong { opacity: 1; white-space: normal; font-size: 11px; line-height: 1.2; }
.c2r button { flex: 0 0 auto; font: inherit; color: inherit; height: 26px; padding: 0 8px; border-radius: 6px; cursor: pointer;
  background: transparent; border: 1px solid var(--border-color, #4e4e4e); }
.c2r button:hover { border-color: currentColor; }
.c2r button:focus-visible { outline: 2px solid var(--p-primary-color, #3b82f6); outline-offset: -1px; }
`

function addStyle () {
  if (document.getElementById('cones2-residual-style')) return
  document.head.append(element('style', { id: 'cones2-residual-style', textContent: CSS }))
}

// What the card says of a file: pictures, its phrase, its family of models.
function contents (known) {
  if (!known) return []
  const { facts, reason, images } = known
  if (!facts) return [element('div', { title: reason }, element('span', { className: 'wrong' }, reason))]
  const phrase = facts.subject ? `“${facts.subject}”` : t('no name in the file: type the word of the prompt')
  const family = facts.family ? t(facts.family) : t('unknown model')
  return [
    ...images.slice(0, MOST_PICTURES).map((image) => element('img', { src: image.src, alt: facts.subject })),
    element('div', {}, element('b', { title: phrase }, phrase), element('span', { title: `${family} · ${facts.width}` }, family))
  ]
}

async function upload (node, files) {
  const [file] = files
  if (files.length !== 1 || !ENDINGS.some((ending) => file.name.toLowerCase().endsWith(ending))) {
    tell(NAME, t('Drop one .safetensors or .pt file.'))
    return
  }
  try {
    choose(node.widgets.find((widget) => widget.name === 'file'), await uploadResidual(file))
  } catch (error) {
    tell(NAME, error.message)
  }
}

function addCard (node) {
  const file = () => String(node.widgets.find((widget) => widget.name === 'file')?.value ?? '')
  const what = element('div', { style: { display: 'contents' } })
  const button = element('button', {
    type: 'button', title: t('Upload a residual, or drop its file on the node'), onclick: () => pickFiles(ENDINGS.join(','), (files) => upload(node, files))
  }, t('upload…'))
  const card = element('div', { className: 'c2r' }, what, element('div', { style: { flex: '0 1 0' } }), button)
  for (const name of ['pointerdown', 'mousedown', 'click']) button.addEventListener(name, (event) => event.stopPropagation())
  const widget = node.addDOMWidget('cones2_residual', 'CONES2_RESIDUAL_CARD', card, {
    serialize: false, hideOnZoom: false, hideInPanel: true, margin: 6, getMinHeight: () => HEIGHT + 12, getMaxHeight: () => HEIGHT + 12
  })
  widget.serialize = false
  card.dataset.cones2Kind = 'residual'
  let shown
  const look = () => { // the file may also come from a loaded workflow, an undo, or the properties panel
    if (node.graph && node.graph === app.canvas.graph) takePlace(node, card)
    const known = node.graph && card.isConnected && file() ? residuals.now(file()) : shown
    if (known !== shown) what.replaceChildren(...contents(shown = known))
  }
  const looking = setInterval(look, LOOK_MILLISECONDS)
  const { onRemove } = widget
  widget.onRemove = function () {
    clearInterval(looking)
    leavePlace(node, card)
    onRemove?.call(this)
  }
}

app.registerExtension({
  name: 'cones2.loadResidual',
  nodeCreated (node) {
    if (node.comfyClass !== NODE) return
    speak(app.extensionManager?.setting?.get?.('Comfy.Locale'))
    addStyle()
    addCard(node)
    takeDrops(node, (name) => ENDINGS.some((ending) => name.endsWith(ending)), (files) => upload(node, files))
    node.setSize([Math.max(WIDTH, node.size[0]), node.computeSize()[1]])
  }
})
