// Two fingers, without a page.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kept, pinched, WHOLE } from '../../web/painter/pinch.js'

const room = { width: 100, height: 100 }

test('what lies between two fingers stays there', () => {
  assert.deepEqual(pinched(WHOLE, [[10, 0], [30, 0]], [[0, 0], [40, 0]]), { scale: 2, x: -20, y: 0 })
  assert.deepEqual(pinched({ scale: 2, x: 5, y: 0 }, [[0, 0], [10, 0]], [[3, 4], [13, 4]]), { scale: 2, x: 8, y: 4 })
})

test('the picture is never smaller than its stage, nor larger than eight of them', () => {
  assert.equal(pinched(WHOLE, [[0, 0], [40, 0]], [[0, 0], [4, 0]]).scale, 1)
  assert.equal(pinched(WHOLE, [[0, 0], [0, 0]], [[0, 0], [4000, 0]]).scale, 8)
})

test('a picture that fits is in the middle, a larger one covers the stage', () => {
  assert.deepEqual(kept({ scale: 1, x: 30, y: -30 }, 100, 50, room), { scale: 1, x: 0, y: 0 })
  assert.deepEqual(kept({ scale: 2, x: 80, y: -10 }, 200, 100, room), { scale: 2, x: 50, y: 0 })
})
