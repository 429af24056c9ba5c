// What the page knows of residual files, and the languages it speaks, without a page.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { inside } from '../../web/painter/geometry.js'
import { KEYS } from '../../web/painter/keys.js'
import { Residuals } from '../../web/painter/residuals.js'
import { CHINESE, speak, t } from '../../web/painter/texts.js'

globalThis.Image = class {
  complete = true
  naturalWidth = 4
}
const facts = (subject, pictures = []) => ({ subject, family: 'SD 1.x', width: 768, pictures })

/** Files that are asked about, and those that were. */
function asked (answers) {
  const questions = []
  const residuals = new Residuals(async (file) => {
    questions.push(file)
    if (answers[file]) return answers[file]
    throw new Error('there is none')
  })
  return { residuals, questions }
}

test('a file is asked about once, until files may have changed', async () => {
  const { residuals, questions } = asked({ 'dog.pt': facts('dog') })
  await Promise.all([residuals.load('dog.pt'), residuals.load('dog.pt')])
  assert.deepEqual(questions, ['dog.pt'])
  residuals.forget()
  assert.equal(residuals.phrase('dog.pt'), 'dog') // what was known meanwhile
  await residuals.load('dog.pt')
  assert.deepEqual(questions, ['dog.pt', 'dog.pt'])
})

test('a phrase is empty until it is known, then the one of the file, else of its name', async () => {
  const { residuals } = asked({ 'dog_with_badge.pt': facts('toy dog'), 'blue_mug.pt': facts('') })
  const files = ['dog_with_badge.pt', 'blue_mug.pt', 'broken_vase.pt']
  assert.deepEqual(files.map((file) => residuals.phrase(file)), ['', '', ''])
  await Promise.all(files.map((file) => residuals.load(file)))
  assert.deepEqual(files.map((file) => residuals.phrase(file)), ['toy dog', 'mug', 'vase'])
})

test('a file that cannot be used says why, and has no picture', async () => {
  const { residuals } = asked({})
  assert.deepEqual(await residuals.load('x.pt'), { facts: null, reason: 'there is none', images: [] })
  assert.equal(residuals.picture('x.pt'), null)
})

test('the picture of a subject is its first cut-out', async () => {
  const { residuals } = asked({ 'dog.pt': facts('dog', ['data:1', 'data:2']), 'cat.pt': facts('cat') })
  await Promise.all([residuals.load('dog.pt'), residuals.load('cat.pt')])
  assert.equal(residuals.picture('dog.pt').src, 'data:1')
  assert.deepEqual([residuals.picture('cat.pt'), residuals.picture(undefined)], [null, null])
})

test('a cut-out lies in the middle of its box, as large as it goes', () => {
  assert.deepEqual(inside([0.1, 0.2, 0.4, 0.8], 1), [0.1, 0.4, 0.4, 0.4])
  assert.deepEqual(inside([0, 0, 1, 0.5], 1), [0.25, 0, 0.5, 0.5])
})

test('texts are those of the page, with values in their places', () => {
  assert.equal(t('Remove {name}', { name: 'dog' }), 'Remove dog')
  speak('zh')
  assert.equal(t('Remove {name}', { name: 'dog' }), '移除 dog')
  assert.equal(t('not translated {name}'), 'not translated {name}')
  speak(undefined)
  assert.equal(t('Remove'), 'Remove')
})

test('every text has its Chinese, and none is left over', () => {
  const folder = new URL('../../web/', import.meta.url)
  const files = [...readdirSync(folder), ...readdirSync(new URL('painter/', folder)).map((name) => `painter/${name}`)]
  const sources = files.filter((name) => name.endsWith('.js') && name !== 'painter/texts.js').map((name) => readFileSync(new URL(name, folder), 'utf8')).join('\n')
  const said = [...sources.matchAll(/(?<![\w.])t\('((?:[^'\\]|\\.)*)'/g)].map(([, text]) => text)
  assert.ok(said.length > 50)
  assert.deepEqual(said.filter((text) => !CHINESE[text]), [])
  const quoted = (text) => sources.includes(`'${text}'`)
  assert.deepEqual(Object.keys(CHINESE).filter((text) => text !== KEYS && text !== 'the demo model' && !quoted(text)), [])
  const values = (text) => (text.match(/\{\w+\}/g) ?? []).sort().join()
  assert.deepEqual(Object.entries(CHINESE).filter(([english, chinese]) => values(english) !== values(chinese)), [])
  assert.ok(CHINESE[KEYS])
})
