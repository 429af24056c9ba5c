// Which of the dropped files are taken, judged by name and size alone.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accepted } from '../../web/painter/files.js'

test('files of other endings are left out', () => {
  const [config, layout, other] = ['a.json', 'B.PNG', 'model.ckpt'].map((name) => ({ name, size: name === 'model.ckpt' ? 4e9 : 10 }))
  assert.deepEqual(accepted([config, layout, other], '.json,.png'), [config, layout])
})

test('a file that is too large is named before it is read', () => {
  const files = [{ name: 'a.json', size: 10 }, { name: 'model.safetensors', size: 4_000_000_000 }]
  assert.throws(() => accepted(files, '.json,.safetensors'), /model\.safetensors: .*4000000000/)
})
