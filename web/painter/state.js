// What the painter knows: the layout, what is chosen, and what can be undone. Nothing here touches the page.
import { columns, emptyLayout, hasRoom, inColumns, isUntouched, layoutText, LIMITS, newSubject, parseLayout, rounded } from './document.js'
import { boundsOf, fitted, mirrored, moved } from './geometry.js'

/** @typedef {import('./document.js').Layout} Layout @typedef {import('./document.js').Shape} Shape @typedef {import('./document.js').Subject} Subject */
/** @typedef {'box' | 'ellipse' | 'brush' | 'erase'} Tool */

const MOST_STEPS = 200 // of undo
export const BRUSHES = { least: 0.01, most: 0.5, start: 0.08 }

export class PainterState {
  constructor () {
    /** @type {Layout} */
    this.layout = emptyLayout()
    this.active = 0
    this.selected = -1 // shape of the active subject
    /** @type {Tool} */
    this.tool = 'box'
    this.brush = BRUSHES.start
    this.snap = true
    /** @type {string[]} */
    this.past = []
    /** @type {string[]} */
    this.future = []
    /** @type {Set<() => void>} */
    this.listeners = new Set()
  }

  /** @returns {Subject | undefined} */
  get subject () {
    return this.layout.subjects[this.active]
  }

  /** @returns {Shape | undefined} */
  get shape () {
    return this.subject?.shapes[this.selected]
  }

  get text () {
    return layoutText(this.layout)
  }

  /** Another layout from outside, such as a loaded workflow's: its own history begins. @param {unknown} text */
  load (text) {
    const layout = parseLayout(text)
    if (layoutText(layout) === this.text) return
    this.past = []
    this.future = []
    this.show(layout)
  }

  /** @param {Layout} layout */
  show (layout) {
    this.layout = layout
    this.active = Math.max(0, Math.min(this.active, layout.subjects.length - 1))
    if (!this.shape) this.selected = -1
    this.tell()
  }

  tell () {
    for (const listener of this.listeners) listener()
  }

  /** One step that can be undone. @param {Layout} layout @param {string} [before] text to return to, by default what is there */
  commit (layout, before = this.text) {
    if (layout.subjects.every((subject) => !subject.shapes.length)) layout = inColumns(layout) // never empty
    if (layoutText(layout) !== before) {
      this.past = [...this.past, before].slice(-MOST_STEPS)
      this.future = []
    }
    this.show(layout)
  }

  undo () {
    const text = this.past.pop()
    if (text === undefined) return
    this.future.push(this.text)
    this.show(parseLayout(text))
  }

  redo () {
    const text = this.future.pop()
    if (text === undefined) return
    this.past.push(this.text)
    this.show(parseLayout(text))
  }

  /** @param {number} index */
  activate (index) {
    if (index < 0 || index >= this.layout.subjects.length) return
    if (index !== this.active) this.selected = -1
    this.active = index
    this.tell()
  }

  /** @param {number} subject @param {number} shape */
  select (subject, shape) {
    this.active = subject
    this.selected = shape
    this.tell()
  }

  /** The next shape, for those who have no pointer. @param {number} step */
  selectNext (step) {
    const all = this.layout.subjects.flatMap((subject, index) => subject.shapes.map((_, shape) => ({ index, shape })))
    if (!all.length) return
    const now = all.findIndex(({ index, shape }) => index === this.active && shape === this.selected)
    const next = all[now < 0 ? 0 : (now + step + all.length) % all.length]
    this.select(next.index, next.shape)
  }

  /** @param {Tool} tool */
  use (tool) {
    this.tool = tool
    this.tell()
  }

  /** @param {number} factor */
  scaleBrush (factor) {
    this.brush = rounded(Math.min(BRUSHES.most, Math.max(BRUSHES.least, this.brush * factor)))
    this.tell()
  }

  /** Add subjects by their names; those who stand side by side make room. @param {string[]} names */
  addSubjects (names) {
    const untouched = isUntouched(this.layout)
    const subjects = [...this.layout.subjects]
    for (const name of names) {
      if (subjects.length < LIMITS.subjects && name.trim()) subjects.push(newSubject(freeName(name.trim(), subjects), subjects))
    }
    if (subjects.length === this.layout.subjects.length) return
    const layout = { ...this.layout, subjects }
    this.active = subjects.length - 1
    this.selected = -1
    this.commit(untouched ? inColumns(layout) : layout)
  }

  /** A subject of a residual's file, named after it. @param {string} residual @param {string} name */
  addSubjectFrom (residual, name) {
    if (!residual) return
    const count = this.layout.subjects.length
    this.addSubjects([name || 'subject'])
    if (this.layout.subjects.length === count) return
    const before = this.past.pop()
    this.changeSubject(this.active, { residual, strength: 1 })
    this.past[this.past.length - 1] = before ?? ''
  }

  /** @param {number} index @param {Partial<Subject>} change */
  changeSubject (index, change) {
    if (!this.layout.subjects[index]) return
    this.commit({ ...this.layout, subjects: this.layout.subjects.map((each, at) => (at === index ? { ...each, ...change } : each)) })
  }

  /** @param {number} index */
  removeSubject (index) {
    const untouched = isUntouched(this.layout)
    const layout = { ...this.layout, subjects: this.layout.subjects.filter((_, at) => at !== index) }
    if (index < this.active) this.active -= 1
    this.selected = -1
    this.commit(untouched ? inColumns(layout) : layout)
  }

  /** Draw a subject over others, or under them. @param {number} index @param {number} step */
  moveSubject (index, step) {
    const to = index + step
    if (to < 0 || to >= this.layout.subjects.length) return
    const subjects = [...this.layout.subjects]
    subjects.splice(to, 0, ...subjects.splice(index, 1))
    this.active = to
    this.commit({ ...this.layout, subjects })
  }

  /**
   * The layout with another shape of the active subject. What was only put there at the beginning makes way for it.
   * @param {Shape} shape @returns {Layout}
   */
  withShape (shape) {
    const shapes = this.startsIn(this.active) && !shape.erase ? [] : this.subject?.shapes ?? []
    return this.withShapes([...shapes, shape])
  }

  /** @param {Shape[]} shapes @returns {Layout} */
  withShapes (shapes) {
    return { ...this.layout, subjects: this.layout.subjects.map((each, index) => (index === this.active ? { ...each, shapes } : each)) }
  }

  /** Whether a subject is where it was put at the beginning. @param {number} index */
  startsIn (index) {
    const [only, ...more] = this.layout.subjects[index]?.shapes ?? []
    const box = columns(this.layout.subjects.length)[index]
    return only !== undefined && !more.length && JSON.stringify(only) === JSON.stringify({ box })
  }

  /** @param {Shape} shape @param {string} [before] */
  addShape (shape, before) {
    if (!this.subject || !hasRoom(this.layout, (shape.polygon ?? shape.stroke ?? []).length)) return false
    const layout = this.withShape(shape)
    this.selected = shape.erase || shape.stroke ? -1 : layout.subjects[this.active].shapes.length - 1
    this.commit(layout, before)
    return true
  }

  /** @param {Shape} shape @param {string} [before] */
  replaceShape (shape, before) {
    if (!this.shape) return
    this.commit(this.withShapes((this.subject?.shapes ?? []).map((each, index) => (index === this.selected ? shape : each))), before)
  }

  removeShape () {
    if (!this.shape) return
    const shapes = (this.subject?.shapes ?? []).filter((_, index) => index !== this.selected)
    this.selected = -1
    this.commit(this.withShapes(shapes))
  }

  duplicateShape () {
    const { shape } = this
    if (!shape || !hasRoom(this.layout, (shape.polygon ?? shape.stroke ?? []).length)) return
    const shapes = [...(this.subject?.shapes ?? []), moved(shape, 0.03, 0.03)]
    this.selected = shapes.length - 1
    this.commit(this.withShapes(shapes))
  }

  /** @param {number} dx @param {number} dy */
  nudge (dx, dy) {
    if (this.shape) this.replaceShape(moved(this.shape, dx, dy))
  }

  /** @param {number} dx @param {number} dy */
  grow (dx, dy) {
    if (!this.shape) return
    const [x, y, w, h] = boundsOf(this.shape)
    this.replaceShape(fitted(this.shape, [x, y, Math.max(0.01, w + dx), Math.max(0.01, h + dy)]))
  }

  /** Forget what was drawn for the active subject. */
  clearSubject () {
    this.selected = -1
    this.commit(this.withShapes([]))
  }

  /** All subjects side by side again. */
  startOver () {
    this.selected = -1
    this.commit(inColumns(this.layout))
  }

  mirror () {
    this.commit({ ...this.layout, subjects: this.layout.subjects.map((each) => ({ ...each, shapes: each.shapes.map(mirrored) })) })
  }
}

/** "dog", or "dog#2" when there is one already. @param {string} name @param {Subject[]} subjects */
function freeName (name, subjects) {
  const taken = new Set(subjects.map((subject) => subject.name.toLowerCase()))
  let free = name
  for (let number = 2; taken.has(free.toLowerCase()); number++) free = `${name}#${number}`
  return free
}
