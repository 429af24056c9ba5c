// The painter on the page: chips above, the picture, tools below. It knows no graph: its host tells it what is around.
import { Drawing } from './draw.js'
import { element } from './elements.js'
import { isColored, layoutFromColors, layoutFromJson, shapesFromMask } from './exchange.js'
import { picture, pixelsOf, textOf } from './files.js'
import { listenToKeys } from './keys.js'
import { kept, listenToPinches, WHOLE } from './pinch.js'
import { Pointer } from './pointer.js'
import { PainterState } from './state.js'
import { addStyle } from './style.js'
import { addCard, chips, rows, subjectCard } from './subjects.js'
import { t } from './texts.js'
import { menuCard, tools } from './tools.js'

/**
 * @typedef {object} Host  what the painter asks of whoever shows it
 * @property {() => { width: number, height: number }} size  of the picture, in pixels
 * @property {() => import('./graph.js').Surroundings} around
 * @property {(file: string) => HTMLImageElement | null} cutout  the picture that a residual's file has of its subject
 * @property {(file: string) => Promise<string>} phrase  of a residual's file
 * @property {(kind: string) => string | null} background  address of a picture
 * @property {() => void} changed  the layout has another text
 * @property {(event: any, kind: 'down' | 'move' | 'up' | 'wheel') => void} forward  an event that is the graph's
 * @property {() => string[] | null} files  residual files to choose from; null for a painter without rows
 */

const CARDS = { add: addCard, subject: subjectCard, menu: menuCard }
const SAY_MILLISECONDS = 8000
const MOST_PIXELS = 4096 // a side, when zoomed in

export class Painter {
  /** @param {Host} host */
  constructor (host) {
    addStyle()
    this.host = host
    this.state = new PainterState()
    this.around = host.around()
    this.size = host.size
    this.grid = false
    this.zoom = WHOLE
    this.backgroundKind = 'auto'
    /** @type {HTMLImageElement | null} */
    this.image = null
    this.imageAddress = ''
    /** @type {[number, number] | null} */
    this.pointerAt = null
    this.savedText = ''
    /** @type {string | null} a text that cannot be read here, to be kept */
    this.foreign = null
    this.shown = { chips: '', tools: '', rows: '' }
    this.chipRow = element('div', { className: 'c2p-row', role: 'toolbar', 'aria-label': t('Subjects') })
    this.canvas = element('canvas', { role: 'img', 'aria-label': t('Layout') })
    // a field takes the keys: the frontend leaves its own undo, copy and paste to fields
    this.keys = element('input', { className: 'c2p-keys', readOnly: true, inputMode: 'none', 'aria-label': t('Layout: arrows move, Enter chooses the next region, N draws one') })
    this.hint = element('div', { className: 'c2p-hint' })
    this.stage = element('div', { className: 'c2p-stage' }, this.keys, this.canvas, this.hint)
    this.toolRow = element('div', { className: 'c2p-row c2p-tools', role: 'toolbar', 'aria-label': t('Tools') })
    this.rowBox = element('div')
    this.said = element('div', { className: 'c2p-say', role: 'alert', hidden: true })
    this.frame = element('div', { className: 'c2p' }, this.chipRow, this.stage, this.toolRow, this.rowBox, this.said)
    this.element = element('div', { style: { display: 'flex', 'flex-direction': 'column', width: '100%', 'min-width': '0' } }, this.frame)
    /** @type {HTMLElement | undefined} */
    this.card = undefined
    this.cardKind = ''
    /** @type {HTMLDialogElement | undefined} */
    this.dialog = undefined
    this.silence = 0
    this.listen()
    this.drawing = new Drawing(this.canvas)
    this.pointer = new Pointer({ canvas: this.canvas, state: this.state, focus: () => this.keys.focus({ preventScroll: true }), needSubject: () => this.open('add'),
      rename: () => this.open('subject'), hover: (point) => this.hover(point), forward: host.forward })
    listenToKeys(this.keys, { state: this.state, cancel: () => this.cancel(), leave: () => (this.isLarge ? this.larger(false) : this.keys.blur()), rename: () => this.open('subject'), add: () => this.open('add') })
    this.unpinch = listenToPinches(this.stage, { begin: () => this.pointer.cancel(), move: (change) => { this.zoom = change(this.zoom); this.fit() } })
    this.state.listeners.add(() => this.update())
    this.observer = new ResizeObserver(() => this.fit())
    this.observer.observe(this.stage)
    this.update()
  }

  listen () {
    this.frame.dataset.captureWheel = 'true'
    for (const name of ['pointerdown', 'pointermove', 'pointerup', 'mousedown', 'click', 'dblclick', 'contextmenu', 'keydown', 'copy', 'paste', 'cut']) {
      this.frame.addEventListener(name, (event) => event.stopPropagation())
    }
    this.frame.addEventListener('pointerdown', (event) => { if (this.card && !this.card.contains(/** @type {Node} */ (event.target))) this.close() })
    this.keys.addEventListener('copy', (event) => this.copy(event))
    this.frame.addEventListener('paste', (event) => this.paste(event))
    this.frame.addEventListener('dragover', (event) => { event.preventDefault(); event.stopPropagation() })
    this.frame.addEventListener('drop', (event) => {
      event.preventDefault()
      event.stopPropagation()
      this.importFiles([...(event.dataTransfer?.files ?? [])])
    })
    this.frame.addEventListener('keydown', (event) => { if (event.key === 'Escape' && this.card) this.close() })
  }

  /** Everything that follows from the state, the graph around and the size. */
  update () {
    this.refresh('chips', [this.subjectsKey(), this.around], () => this.showChips())
    this.refresh('tools', [this.state.tool, this.state.past.length > 0, this.state.future.length > 0, this.isLarge], () => this.toolRow.replaceChildren(...tools(this)))
    const files = this.host.files()
    if (files) this.refresh('rows', [this.subjectsKey(), this.around.names, files], () => this.rowBox.replaceChildren(rows(this, files)))
    this.hint.textContent = this.state.subject ? '' : t('Add a subject: a word of the prompt.')
    this.fit()
    if (this.state.text !== this.savedText && !this.pointer?.gesture) {
      this.savedText = this.state.text
      this.host.changed()
    }
  }

  showChips () {
    this.chipRow.replaceChildren(...chips(this))
    const active = this.chipRow.children[this.state.active]
    if (active instanceof HTMLElement) this.chipRow.scrollLeft = Math.max(0, active.offsetLeft + active.offsetWidth - this.chipRow.clientWidth)
  }

  subjectsKey () {
    const { layout, active } = this.state
    return [active, layout.subjects.map((subject) => [subject.name, subject.color, subject.weight, subject.residual, subject.strength, subject.shapes])]
  }

  /** Make a part anew when what it shows has changed; a field that is being typed in stays. @param {'chips' | 'tools' | 'rows'} part @param {unknown} shows @param {() => void} make */
  refresh (part, shows, make) {
    const key = JSON.stringify(shows)
    if (this.shown[part] === key) return
    this.shown[part] = key
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)
    const label = this.frame.contains(focused) ? focused?.getAttribute('aria-label') ?? focused?.textContent : null
    make()
    if (label && !this.frame.contains(document.activeElement)) {
      const again = [...this.frame.querySelectorAll('button, input, select')].find((each) => (each.getAttribute('aria-label') ?? each.textContent) === label)
      if (again instanceof HTMLElement) again.focus({ preventScroll: true })
    }
  }

  /** What the graph says may have changed. */
  look () {
    const around = this.host.around()
    if (JSON.stringify(around) !== JSON.stringify(this.around)) {
      this.around = around
      this.update()
    }
    this.showBackground()
    this.fit()
  }

  /** Fit the canvas into its stage, in the picture's proportions, sharp at every zoom. */
  fit () {
    const { width, height } = this.size()
    const room = { width: this.stage.clientWidth, height: this.stage.clientHeight }
    if (!room.width || !room.height) return
    const scale = Math.min(room.width / width, room.height / height) * this.zoom.scale
    const [wide, high] = [width * scale, height * scale]
    this.zoom = kept(this.zoom, wide, high, room)
    const [left, top] = [(room.width - wide) / 2 + this.zoom.x, (room.height - high) / 2 + this.zoom.y]
    Object.assign(this.canvas.style, { width: `${wide}px`, height: `${high}px`, left: `${left}px`, top: `${top}px` })
    const ratio = this.ratio(wide, high)
    if (this.canvas.width !== Math.round(wide * ratio) || this.canvas.height !== Math.round(high * ratio)) {
      Object.assign(this.canvas, { width: Math.round(wide * ratio), height: Math.round(high * ratio) })
    }
    this.draw()
  }

  /** Pixels of the canvas per pixel of the page, as it is laid out. @param {number} width @param {number} height */
  ratio (width, height) {
    return Math.min(3, devicePixelRatio || 1, Math.max(1, MOST_PIXELS / Math.max(width, height)))
  }

  draw () {
    const ratio = this.ratio(this.canvas.clientWidth, this.canvas.clientHeight)
    this.drawing?.draw(this.state, { background: this.image, cutouts: this.state.layout.subjects.map((subject) => this.cutout(subject)), grid: this.grid, ratio, dark: isDark(this.frame), pointer: this.pointerAt })
  }

  /** The picture of a subject, as a start from the photos takes it: subjects that keep out of their region have none. @param {import('./document.js').Subject} subject */
  cutout ({ name, residual, weight }) {
    const file = residual ?? this.around.files[name.toLowerCase()]
    return file && weight > 0 ? this.host.cutout(file) : null
  }

  /** Add the subject of a residual's file. @param {string} file */
  async addFrom (file) {
    if (file) this.state.addSubjectFrom(file, await this.host.phrase(file))
  }

  /** The height that the widget wants at a width. @param {number} width */
  heightAt (width) {
    const size = this.size()
    const picture = Math.min(640, Math.max(140, width * size.height / size.width))
    return Math.round(picture) + (this.frame.clientHeight ? this.frame.clientHeight - this.stage.clientHeight : 60)
  }

  /** @param {[number, number] | null} point */
  hover (point) {
    this.pointerAt = point
    const painting = this.state.tool === 'brush' || this.state.tool === 'erase'
    this.canvas.style.cursor = painting ? 'none' : 'crosshair'
    if (painting) this.draw()
  }

  cancel () {
    if (this.pointer.gesture) {
      this.pointer.cancel()
      return true
    }
    if (!this.state.shape) return false
    this.state.select(this.state.active, -1)
    return true
  }

  /** @param {keyof typeof CARDS} kind */
  open (kind) {
    const same = this.cardKind === kind && this.card
    this.close()
    if (same) return
    this.look()
    this.cardKind = kind
    this.card = CARDS[kind](this)
    this.frame.append(this.card)
    const first = /** @type {HTMLElement | null} */ (this.card.querySelector('input, button'))
    first?.focus()
  }

  /** Close the card; who was in it goes on with the picture. */
  close () {
    const within = this.card?.contains(document.activeElement)
    this.card?.remove()
    this.card = undefined
    if (within) this.keys.focus({ preventScroll: true })
  }

  get isLarge () {
    return Boolean(this.dialog?.open)
  }

  /** The same painter over most of the page, and back. @param {boolean} large */
  larger (large) {
    this.close()
    if (large && !this.isLarge) {
      this.dialog = element('dialog', { className: 'c2p-dialog', 'aria-label': t('Layout'), onclose: () => this.larger(false) }, this.frame)
      for (const name of ['pointerdown', 'keydown', 'wheel']) this.dialog.addEventListener(name, (event) => event.stopPropagation())
      document.body.append(this.dialog)
      this.dialog.showModal()
      this.keys.focus()
    } else if (!large && this.dialog) {
      this.element.append(this.frame)
      this.dialog.remove()
      this.dialog = undefined
    }
    this.update()
  }

  /** @param {boolean} on */
  setGrid (on) {
    this.grid = on
    this.draw()
  }

  /** @param {string} kind */
  setBackground (kind) {
    this.backgroundKind = kind
    this.host.changed()
    this.showBackground()
  }

  async showBackground () {
    const address = this.host.background(this.backgroundKind) ?? ''
    if (address === this.imageAddress) return
    this.imageAddress = address
    const image = address ? await picture(address).catch(() => null) : null
    if (this.imageAddress !== address) return // another was asked for meanwhile
    this.image = image
    this.draw()
  }

  /** @param {string} sentence */
  say (sentence) {
    this.said.textContent = sentence
    this.said.hidden = false
    clearTimeout(this.silence)
    this.silence = window.setTimeout(() => { this.said.hidden = true }, SAY_MILLISECONDS)
  }

  /** Take a layout from files: a JSON, a painted picture, or both. @param {File[]} files */
  async importFiles (files) {
    const json = files.find((file) => file.name.toLowerCase().endsWith('.json'))
    const painted = files.find((file) => file !== json)
    try {
      let layout = this.state.layout
      if (json) layout = layoutFromJson(await textOf(json), this.size()).layout
      if (painted) {
        const pixels = await pixelsOf(painted)
        if (!json && this.state.subject && !isColored(pixels)) return this.importMask(painted)
        layout = layoutFromColors(pixels, layout, !json)
      }
      this.state.commit(layout)
    } catch (error) {
      this.say(/** @type {Error} */ (error).message)
    }
  }

  /** @param {File | undefined} file */
  async importMask (file) {
    try {
      if (file) this.state.commit(this.state.withShapes(shapesFromMask(await pixelsOf(file))))
    } catch (error) {
      this.say(/** @type {Error} */ (error).message)
    }
  }

  /** @param {ClipboardEvent} event */
  copy (event) {
    const { shape, subject } = this.state
    if (!shape || !subject) return
    event.preventDefault()
    event.clipboardData?.setData('text/plain', JSON.stringify({ version: 1, subjects: [{ name: subject.name, shapes: [shape] }] }))
  }

  /** A copied region goes to the active subject; a picture is read as a layout or a mask. @param {ClipboardEvent} event */
  paste (event) {
    if (event.target !== this.keys) return // into a field of a card
    event.preventDefault()
    const files = [...(event.clipboardData?.files ?? [])]
    if (files.length) return void this.importFiles(files)
    try {
      const { layout } = layoutFromJson(event.clipboardData?.getData('text/plain') ?? '', this.size())
      const shapes = layout.subjects.flatMap((subject) => subject.shapes)
      if (layout.subjects.length === 1 && this.state.subject) for (const shape of shapes) this.state.addShape(shape)
      else this.state.commit(layout)
    } catch (error) {
      this.say(/** @type {Error} */ (error).message)
    }
  }

  remove () {
    this.larger(false)
    this.observer.disconnect()
    this.unpinch()
    clearTimeout(this.silence)
  }
}

/** Whether the theme around is dark. @param {HTMLElement} frame */
function isDark (frame) {
  const [red, green, blue] = (getComputedStyle(frame).color.match(/[\d.]+/g) ?? ['255', '255', '255']).map(Number)
  return red + green + blue > 3 * 128 // light text
}
