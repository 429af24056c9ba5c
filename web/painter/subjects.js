// The subjects of a painter: chips, the card of a subject, and what may become one.
import { element, textOn, toolButton } from './elements.js'
import { isInPrompt, promptWords } from './graph.js'
import { regionMask } from './raster.js'
import { t } from './texts.js'

/** @typedef {import('./view.js').Painter} Painter @typedef {import('./document.js').Subject} Subject */

/** @param {Painter} painter @returns {HTMLElement[]} */
export function chips (painter) {
  const { state, around } = painter
  const made = state.layout.subjects.map((subject, index) => chip(painter, subject, index, around.prompt))
  const add = element('button', {
    type: 'button', className: 'c2p-add', title: t('Add a subject: a word of the prompt'), 'aria-label': t('Add a subject'), onclick: () => painter.open('add')
  }, made.length ? '+' : t('+ subject'))
  return [...made, add]
}

/** What is wrong with a subject, in one sentence; empty when nothing is. @param {Subject} subject @param {string | null} prompt */
export function complaint (subject, prompt) {
  if (prompt !== null && !isInPrompt(prompt, subject.name)) return t('"{name}" is not in the prompt: click to rename it', { name: subject.name })
  return hasRegion(subject) ? '' : t('"{name}" has no region: draw one', { name: subject.name })
}

/** @param {Subject} subject */
const hasRegion = ({ shapes }) => shapes.some((shape) => !shape.erase) && regionMask(shapes, 64, 64).includes(1)

/** @param {Painter} painter @param {Subject} subject @param {number} index @param {string | null} prompt */
function chip (painter, subject, index, prompt) {
  const wrong = complaint(subject, prompt)
  const marks = (prompt !== null && !isInPrompt(prompt, subject.name) ? ' missing' : '') + (hasRegion(subject) ? '' : ' empty')
  return element('button', {
    type: 'button',
    className: `c2p-chip${marks}`,
    title: wrong || (index < 9 ? t('{name} (key {key}); click again for more', { name: subject.name, key: index + 1 }) : t('{name}; click again for more', { name: subject.name })),
    'aria-pressed': index === painter.state.active,
    style: { '--chip': subject.color, '--chip-text': textOn(subject.color) },
    onclick: () => (index === painter.state.active ? painter.open('subject') : painter.state.activate(index))
  }, element('i', { style: { background: subject.color } }), element('span', {}, subject.name))
}

/** The words that may become subjects: linked residuals' first, then the prompt's. @param {Painter} painter */
export function suggestions ({ state, around }) {
  const taken = new Set(state.layout.subjects.map(({ name }) => name.toLowerCase()))
  const words = around.prompt === null ? [] : promptWords(around.prompt)
  return [...new Set([...around.names, ...words])].filter((word) => !taken.has(word.toLowerCase()))
}

/** The card that adds subjects. @param {Painter} painter */
export function addCard (painter) {
  const typed = element('input', { type: 'text', placeholder: t('word of the prompt'), maxLength: 200, 'aria-label': t('Word of the prompt') })
  const add = (/** @type {string[]} */ names) => {
    painter.state.addSubjects(names)
    painter.close()
  }
  typed.onkeydown = (event) => { if (event.key === 'Enter' && typed.value.trim()) add([typed.value]) }
  const linked = painter.around.names.filter((name) => suggestions(painter).includes(name))
  const words = suggestions(painter).map((word) => element('button', { type: 'button', onclick: () => add([word]) }, word))
  return element('div', { className: 'c2p-pop down', role: 'dialog', 'aria-label': t('Add a subject') },
    element('div', { className: 'c2p-row' }, typed, element('button', { type: 'button', onclick: () => typed.value.trim() && add([typed.value]) }, t('Add'))),
    element('div', { className: 'c2p-grid' }, ...words),
    ...(linked.length > 1 ? [element('button', { type: 'button', onclick: () => add(linked) }, t('All linked: {names}', { names: linked.join(', ') }))] : []))
}

/** The card of the active subject. @param {Painter} painter */
export function subjectCard (painter) {
  const { state } = painter
  const { subject, active } = state
  const card = element('div', { className: 'c2p-pop down', role: 'dialog', 'aria-label': t('Subject') })
  if (!subject) return card
  const change = (/** @type {Partial<Subject>} */ changes) => state.changeSubject(active, changes)
  const name = element('input', { type: 'text', value: subject.name, maxLength: 200, onchange: () => name.value.trim() && change({ name: name.value.trim() }) })
  name.onkeydown = (event) => { if (event.key === 'Enter') { name.dispatchEvent(new Event('change')); painter.close() } }
  const color = element('input', { type: 'color', value: subject.color, onchange: () => change({ color: color.value }) })
  const weight = element('input', {
    type: 'number', value: String(subject.weight), min: '-1000000', max: '1000000', step: '0.1', title: t('How strongly the subject is pulled towards its region; 2.5 in the paper'),
    onchange: () => Number.isFinite(weight.valueAsNumber) && change({ weight: weight.valueAsNumber })
  })
  const words = suggestions(painter).slice(0, 12)
  card.append(
    element('label', {}, element('span', {}, t('Word')), name),
    element('div', { className: 'c2p-grid' }, ...words.map((word) => element('button', { type: 'button', onclick: () => change({ name: word }) }, word))),
    element('label', {}, element('span', {}, t('Weight')), weight),
    element('label', {}, element('span', {}, t('Color')), color),
    element('div', { className: 'c2p-grid' },
      element('button', { type: 'button', onclick: () => state.moveSubject(state.active, -1) }, t('To the back')),
      element('button', { type: 'button', onclick: () => state.moveSubject(state.active, 1) }, t('To the front')),
      element('button', { type: 'button', onclick: () => state.clearSubject() }, t('Clear region')),
      element('button', { type: 'button', onclick: () => { painter.close(); state.removeSubject(state.active) } }, t('Remove'))))
  return card
}

/** The rows of a scene: word, residual file, strength. @param {Painter} painter @param {string[]} files */
export function rows (painter, files) {
  const { state } = painter
  const made = state.layout.subjects.map((subject, index) => row(painter, subject, index, files))
  const pick = fileMenu(files, '', t('+ subject from a file'), (file) => painter.addFrom(file))
  return element('div', { className: 'c2p-rows' }, ...made, element('div', { className: 'c2p-row' }, pick))
}

/** @param {Painter} painter @param {Subject} subject @param {number} index @param {string[]} files */
function row (painter, subject, index, files) {
  const { state } = painter
  const word = element('input', { type: 'text', value: subject.name, maxLength: 200, title: t('Word of the prompt'), 'aria-label': t('Word of subject {number}', { number: index + 1 }),
    onchange: () => word.value.trim() && state.changeSubject(index, { name: word.value.trim() }) })
  const strength = element('input', { type: 'number', value: String(subject.strength ?? 1), min: '-10', max: '10', step: '0.05', title: t('Strength of the residual'), 'aria-label': t('Strength of {name}', { name: subject.name }),
    disabled: !subject.residual, onchange: () => Number.isFinite(strength.valueAsNumber) && state.changeSubject(index, { strength: strength.valueAsNumber }) })
  const linked = painter.around.names.some((name) => name.toLowerCase() === subject.name.toLowerCase())
  const file = fileMenu(files, subject.residual ?? '', linked ? t('linked') : t('plain word'), (name) =>
    state.changeSubject(index, name ? { residual: name, strength: subject.strength ?? 1 } : { residual: undefined, strength: undefined }))
  return element('div', { className: 'c2p-row', onpointerdown: () => state.active !== index && state.activate(index) },
    element('i', { style: { background: subject.color } }), word, file, strength,
    toolButton('remove', t('Remove {name}', { name: subject.name }), () => state.removeSubject(index)))
}

/** @param {string[]} files @param {string} chosen @param {string} none @param {(file: string) => void} choose */
function fileMenu (files, chosen, none, choose) {
  const names = chosen && !files.includes(chosen) ? [chosen, ...files] : files
  const menu = element('select', { title: t('Residual in models/residuals'), 'aria-label': t('Residual'), onchange: () => choose(menu.value) },
    element('option', { value: '' }, none), ...names.map((name) => element('option', { value: name }, name)))
  menu.value = chosen
  return menu
}
