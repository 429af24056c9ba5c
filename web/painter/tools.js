// The row of tools, and the menu of what is needed less often.
import { element, toolButton } from './elements.js'
import { colorTable, layoutPixels } from './exchange.js'
import { download, pickFiles, pngOf } from './files.js'
import { KEYS } from './keys.js'
import { t } from './texts.js'

/** @typedef {import('./view.js').Painter} Painter @typedef {import('./state.js').Tool} Tool */

/** @type {[Tool, string][]} */
const TOOLS = [['box', 'Box (R)'], ['ellipse', 'Ellipse (O)'], ['brush', 'Brush (B)'], ['erase', 'Eraser (E)']]
const ACCEPT = '.json,.png,.jpg,.jpeg,.webp,.bmp'

/** @param {Painter} painter @returns {HTMLElement[]} */
export function tools (painter) {
  const { state } = painter
  const buttons = TOOLS.map(([tool, title]) => {
    const button = toolButton(tool, t(title), () => state.use(tool))
    button.setAttribute('aria-pressed', String(state.tool === tool))
    return button
  })
  const undo = toolButton('undo', t('Undo (Ctrl+Z)'), () => state.undo())
  const redo = toolButton('redo', t('Redo (Ctrl+Y)'), () => state.redo())
  undo.disabled = !state.past.length
  redo.disabled = !state.future.length
  const painting = state.tool === 'brush' || state.tool === 'erase'
  return [...buttons, ...(painting ? [brushSize(painter)] : []), element('div', { className: 'c2p-space' }), undo, redo,
    toolButton('more', t('More: copy, mirror, import, export, background'), () => painter.open('menu')),
    toolButton('larger', painter.isLarge ? t('Back into the node (Esc)') : t('Larger'), () => painter.larger(!painter.isLarge))]
}

/** @param {Painter} painter */
function brushSize ({ state }) {
  const slider = element('input', { type: 'range', min: '1', max: '50', step: '1', value: String(Math.round(state.brush * 100)), title: t('Brush size ([ and ], or Alt+wheel)'), 'aria-label': t('Brush size'),
    oninput: () => { state.brush = Number(slider.value) / 100 } })
  return slider
}

/** @param {Painter} painter */
export function menuCard (painter) {
  const { state } = painter
  /** @param {string} text @param {() => void} act @param {Record<string, any>} [options] */
  const item = (text, act, options = {}) => element('button', { type: 'button', onclick: () => { painter.close(); act() }, ...options }, t(text))
  const pressed = (/** @type {boolean} */ on) => ({ 'aria-pressed': on })
  return element('div', { className: 'c2p-pop up', role: 'dialog', 'aria-label': t('More') },
    element('div', { className: 'c2p-grid' },
      item('Duplicate', () => state.duplicateShape(), { disabled: !state.shape }),
      item('Delete', () => state.removeShape(), { disabled: !state.shape }),
      item('Mirror', () => state.mirror()),
      item('Clear region', () => state.clearSubject()),
      item('Start over', () => state.startOver()),
      item('Snap', () => { state.snap = !state.snap }, pressed(state.snap)),
      item('Thirds', () => painter.setGrid(!painter.grid), pressed(painter.grid))),
    element('div', { className: 'c2p-grid' }, element('b', {}, t('Background')),
      ...BACKGROUNDS.map(([kind, text]) => item(text, () => painter.setBackground(kind), pressed(painter.backgroundKind === kind)))),
    element('div', { className: 'c2p-grid' }, element('b', {}, t('Import')),
      item('Picture, config or boxes…', () => pickFiles(ACCEPT, (files) => painter.importFiles(files))),
      item('Mask for the subject…', () => pickFiles(ACCEPT, (files) => painter.importMask(files[0])), { disabled: !state.subject })),
    element('div', { className: 'c2p-grid' }, element('b', {}, t('Export')),
      item('Layout (JSON)', () => download(new Blob([state.text], { type: 'application/json' }), 'layout.json')),
      item('Picture and table', () => exportPicture(painter))),
    element('div', { style: { opacity: '.75', 'user-select': 'text' } }, t(KEYS)))
}

/** @type {['auto' | 'result' | 'none', string][]} */
const BACKGROUNDS = [['auto', 'Connected image'], ['result', 'Last result'], ['none', 'None']]

/** @param {Painter} painter */
async function exportPicture ({ state, size }) {
  const { width, height } = size()
  download(await pngOf(layoutPixels(state.layout, height, width), height, width), 'layout.png')
  download(new Blob([colorTable(state.layout)], { type: 'text/plain' }), 'layout_colors.txt')
}
