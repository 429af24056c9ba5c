// The painter without a page: documents, cells, shapes, history, imports.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { columns, hasRoom, inColumns, isForeign, layoutText, LIMITS, parseLayout } from '../../web/painter/document.js'
import { colorTable, layoutFromColors, layoutFromJson, layoutPixels, shapesFromMask } from '../../web/painter/exchange.js'
import { boundsOf, fitted, mirrored, moved, resized, shapeAt, simplified, snapBy, snapLines } from '../../web/painter/geometry.js'
import { connectedPicture, isInPrompt, nameOfFile, promptWords, surroundings } from '../../web/painter/graph.js'
import { regionMask } from '../../web/painter/raster.js'
import { PainterState } from '../../web/painter/state.js'

const vectors = JSON.parse(readFileSync(new URL('vectors.json', import.meta.url), 'utf8'))
for (const { name, width, height, shapes, mask } of vectors) {
  test(`shapes cover the cells of the vectors: ${name}`, () => {
    const cells = regionMask(shapes, height, width)
    const rows = mask.map((_, row) => [...cells.slice(row * width, (row + 1) * width)].map((cell) => '.#'[cell]).join(''))
    assert.deepEqual(rows, mask)
  })
}

const text = (...subjects) => JSON.stringify({ version: 1, subjects })
const painter = (...names) => {
  const state = new PainterState()
  state.addSubjects(names)
  state.past = []
  return state
}
const shapesOf = (state) => state.layout.subjects.map((subject) => subject.shapes)

test('subjects begin side by side', () => {
  assert.deepEqual(shapesOf(painter('dog', 'mug')), columns(2).map((box) => [{ box }]))
})

test('another subject is given room while nobody has drawn', () => {
  const state = painter('dog')
  state.addSubjects(['mug'])
  assert.deepEqual(shapesOf(state), columns(2).map((box) => [{ box }]))
})

test('another subject leaves what was drawn as it is', () => {
  const state = painter('dog')
  state.addShape({ ellipse: [0, 0, 0.5, 0.5] })
  state.addSubjects(['mug'])
  assert.deepEqual(shapesOf(state), [[{ ellipse: [0, 0, 0.5, 0.5] }], []])
})

test('what was put there at the beginning makes way for the first shape and not for the eraser', () => {
  const state = painter('dog', 'mug')
  state.activate(0)
  state.addShape({ stroke: [[0.1, 0.1]], size: 0.1, erase: true })
  state.activate(1)
  state.addShape({ box: [0, 0, 0.1, 0.1] })
  assert.deepEqual(shapesOf(state).map((shapes) => shapes.length), [2, 1])
})

test('a name that is taken gets a number', () => {
  assert.deepEqual(painter('dog', 'Dog', 'dog').layout.subjects.map(({ name }) => name), ['dog', 'Dog#2', 'dog#3'])
})

test('colors differ as long as there are any', () => {
  assert.equal(new Set(painter(...'abcdefgh').layout.subjects.map(({ color }) => color)).size, 8)
})

test('undo and redo walk through every step', () => {
  const state = painter('dog')
  const texts = [state.text]
  for (let step = 0; step < 5; step++) {
    state.addShape({ box: [step / 10, 0, 0.1, 0.1] })
    texts.push(state.text)
  }
  for (const expected of texts.slice(0, -1).reverse()) {
    state.undo()
    assert.equal(state.text, expected)
  }
  state.undo()
  for (const expected of texts.slice(1)) {
    state.redo()
    assert.equal(state.text, expected)
  }
})

test('a step after undo forgets what was undone', () => {
  const state = painter('dog')
  state.addShape({ box: [0, 0, 0.1, 0.1] })
  state.undo()
  state.addShape({ ellipse: [0, 0, 0.1, 0.1] })
  const now = state.text
  state.redo()
  assert.equal(state.text, now)
})

test('random steps are undone to the beginning and redone to the end', () => {
  let seed = 7
  const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % below }
  const state = painter('dog', 'mug', 'cat')
  const start = state.text
  const steps = [
    () => state.activate(random(3)), () => state.addShape({ box: [random(9) / 10, 0, 0.2, 0.3] }),
    () => state.addShape({ stroke: [[0.1, random(9) / 10]], size: 0.1, ...(random(2) ? { erase: true } : {}) }), () => state.selectNext(1),
    () => state.nudge(0.01, 0.02), () => state.grow(0.05, -0.02), () => state.removeShape(), () => state.duplicateShape(),
    () => state.mirror(), () => state.moveSubject(state.active, 1), () => state.changeSubject(random(3), { weight: random(5) }),
    () => state.clearSubject(), () => state.addSubjects(['x']), () => state.removeSubject(random(4))
  ]
  for (let count = 0; count < 150; count++) {
    steps[random(steps.length)]()
    assert.deepEqual(parseLayout(state.text), state.layout)
  }
  const end = state.text
  while (state.past.length) state.undo()
  assert.equal(state.text, start)
  while (state.future.length) state.redo()
  assert.equal(state.text, end)
})

test('a picture without regions is never shown', () => {
  const state = painter('dog', 'mug')
  state.clearSubject()
  state.activate(0)
  state.clearSubject()
  assert.deepEqual(shapesOf(state), columns(2).map((box) => [{ box }]))
})

test('a loaded layout begins its own history', () => {
  const state = painter('dog')
  state.addShape({ box: [0, 0, 0.1, 0.1] })
  state.load(text({ name: 'mug' }))
  state.undo()
  assert.equal(state.layout.subjects[0].name, 'mug')
})

const strange = ['', '{', '[]', '3', 'null', '{"subjects": 3}', '{"subjects": [3, {}, {"name": 3}]}', text({ name: 'dog', shapes: 3 }),
  text({ name: 'dog', shapes: [3, {}, { box: 3 }, { box: [0, 0, null, 1] }, { stroke: [[1]] }, { polygon: [] }] }), undefined, 7, {}]
for (const [index, value] of strange.entries()) {
  test(`a strange text is a layout: ${index}`, () => {
    const layout = parseLayout(value)
    assert.deepEqual(parseLayout(layoutText(layout)), layout)
    assert.ok(layout.subjects.every(({ name, shapes }) => name && shapes.length))
  })
}

test('what cannot be read here is known, so that it can be kept', () => {
  assert.deepEqual(['{', '[]', '3', '{"version": 2, "subjects": []}'].map(isForeign), [true, true, true, true])
  assert.deepEqual(['', ' ', text({ name: 'dog' }), '{"subjects": []}', undefined].map(isForeign), [false, false, false, false, false])
})

test('a huge document is cut to the limits', () => {
  const shapes = Array.from({ length: 1000 }, () => ({ stroke: Array.from({ length: 100 }, () => [0.5, 1e9]), size: 99 }))
  const layout = parseLayout({ subjects: Array.from({ length: 99 }, (_, index) => ({ name: `s${index}`, shapes })) })
  const kept = layout.subjects.flatMap((subject) => subject.shapes)
  assert.equal(layout.subjects.length, LIMITS.subjects)
  assert.ok(kept.length <= LIMITS.shapes && kept.reduce((sum, { stroke }) => sum + stroke.length, 0) <= LIMITS.points)
  assert.ok(kept.every(({ size, stroke }) => size <= 9 && stroke.every(([, y]) => y <= 5)))
  assert.equal(hasRoom(layout, 100), false)
})

test('shapes are moved, mirrored and fitted', () => {
  assert.deepEqual(moved({ polygon: [[0, 0], [0.5, 1]] }, 0.1, 0.2), { polygon: [[0.1, 0.2], [0.6, 1.2]] })
  assert.deepEqual(mirrored({ box: [0.1, 0, 0.2, 1] }), { box: [0.7, 0, 0.2, 1] })
  assert.deepEqual(mirrored({ stroke: [[0.1, 0.3]], size: 0.1 }), { stroke: [[0.9, 0.3]], size: 0.1 })
  assert.deepEqual(fitted({ ellipse: [0, 0, 1, 1] }, [0.2, 0.2, 0.5, 0.25]), { ellipse: [0.2, 0.2, 0.5, 0.25] })
})

test('handles resize on their sides, and keep proportions when asked to', () => {
  assert.deepEqual(resized([0.2, 0.2, 0.4, 0.4], 'se', 0.1, 0.2, false).map((side) => side.toFixed(2)), ['0.20', '0.20', '0.50', '0.60'])
  assert.deepEqual(resized([0.2, 0.2, 0.4, 0.4], 'w', 0.1, 0.2, false).map((side) => side.toFixed(2)), ['0.30', '0.20', '0.30', '0.40'])
  const [x, y, w, h] = resized([0.2, 0.2, 0.4, 0.2], 'nw', -0.1, 0, true)
  assert.deepEqual([x, y, w, h].map((side) => side.toFixed(3)), ['0.100', '0.150', '0.500', '0.250'])
  assert.ok(resized([0.2, 0.2, 0.4, 0.4], 'e', -9, 0, false)[2] > 0)
})

test('the uppermost shape is met, the active subject first, an eraser never', () => {
  const state = painter('dog', 'mug')
  state.activate(0)
  state.addShape({ box: [0, 0, 1, 1] })
  state.activate(1)
  state.addShape({ ellipse: [0.25, 0.25, 0.5, 0.5] })
  state.addShape({ box: [0, 0, 1, 1], erase: true })
  assert.deepEqual(shapeAt(state.layout, [0.5, 0.5], 0), { subject: 0, shape: 0 })
  assert.deepEqual(shapeAt(state.layout, [0.5, 0.5], 1), { subject: 1, shape: 0 })
  assert.deepEqual(shapeAt(state.layout, [0.05, 0.05], 1), { subject: 0, shape: 0 })
  assert.equal(shapeAt(inColumns(state.layout), [0.5, 0.05], 0), null)
})

test('edges snap to thirds, the middle and other boxes', () => {
  const { across } = snapLines(painter('dog', 'mug').layout)
  assert.ok(across.includes(0.5) && across.includes(columns(2)[1][0]))
  assert.equal(snapBy([0.49, 0.7], [0.5], 0.02).toFixed(2), '0.01')
  assert.equal(snapBy([0.4], [0.5], 0.02), 0)
})

test('a stroke is simplified without leaving its way', () => {
  const wave = Array.from({ length: 200 }, (_, step) => [step / 200, 0.5 + 0.2 * Math.sin(step / 20)])
  const short = simplified(wave, 0.003)
  assert.ok(short.length < 40 && short.length > 8)
  assert.deepEqual(boundsOf({ stroke: short }).map((side) => side.toFixed(1)), boundsOf({ stroke: wave }).map((side) => side.toFixed(1)))
})

const pixelsOf = (layout, height, width) => ({ data: layoutPixels(layout, height, width), height, width })

test('an exported layout is read back in its colors', () => {
  const state = painter('dog', 'mug')
  state.activate(0)
  state.addShape({ ellipse: [0.05, 0.1, 0.4, 0.8] })
  state.addShape({ ellipse: [0.15, 0.3, 0.2, 0.3], erase: true })
  const pixels = pixelsOf(state.layout, 128, 128)
  const read = layoutFromColors(pixels, parseLayout(text({ name: 'mug', color: state.layout.subjects[1].color }, { name: 'dog', color: state.layout.subjects[0].color })))
  for (const { name, shapes } of read.subjects) {
    const drawn = regionMask(state.layout.subjects.find((subject) => subject.name === name).shapes, 128, 128)
    const found = regionMask(shapes, 128, 128)
    const both = found.filter((cell, at) => cell && drawn[at]).length
    const either = found.filter((cell, at) => cell || drawn[at]).length
    assert.ok(both / either > 0.97, `${name} ${both} of ${either}`)
  }
})

test('colors are found by themselves and take the names in their order', () => {
  const pixels = pixelsOf(painter('x', 'y', 'z').layout, 64, 64)
  const read = layoutFromColors(pixels, parseLayout(text({ name: 'dog', color: '#ffffff' })))
  assert.deepEqual(read.subjects.map(({ name }) => name), ['dog', 'subject 2', 'subject 3'])
  assert.ok(read.subjects.every(({ shapes }) => shapes.length === 1 && shapes[0].box))
})

test('a picture without colors is refused', () => {
  const data = new Uint8ClampedArray(64 * 64 * 4).fill(255)
  assert.throws(() => layoutFromColors({ data, width: 64, height: 64 }, parseLayout('')), /only black, white and gray/)
  assert.throws(() => shapesFromMask({ data: new Uint8ClampedArray(64), width: 4, height: 4 }), /mask is empty/)
})

test('configs, boxes, elements and layouts are read from JSON', () => {
  const size = { width: 200, height: 100 }
  const config = layoutFromJson(JSON.stringify([{ color_context: { '255,0,0': ['dog', 3], '0,0,255': ['mug', 2] }, layout: 'a.png' }]), size)
  assert.deepEqual(config.layout.subjects.map(({ name, color, weight }) => [name, color, weight]), [['dog', '#ff0000', 3], ['mug', '#0000ff', 2]])
  assert.equal(config.picture, 'a.png')
  const boxes = layoutFromJson('[{"x": 20, "y": 10, "width": 100, "height": 50}]', size).layout
  assert.deepEqual(boxes.subjects[0].shapes, [{ box: [0.1, 0.1, 0.5, 0.5] }])
  const elements = layoutFromJson('[{"bbox": [100, 200, 600, 900], "desc": "a dog"}]', size).layout
  assert.deepEqual([elements.subjects[0].name, elements.subjects[0].shapes], ['a dog', [{ box: [0.2, 0.1, 0.7, 0.5] }]])
  const own = painter('dog', 'mug')
  assert.deepEqual(layoutFromJson(own.text, size).layout, own.layout)
  for (const wrong of ['{', '3', '[]', '{"a": 1}', '{"color_context": 3}', 'null', '[[null]]']) assert.throws(() => layoutFromJson(wrong, size), Error)
})

test('the color table is what Color Layout to Masks reads', () => {
  assert.equal(colorTable(painter('dog').layout), '#e69f00 = dog @ 2.5')
})

// A graph of the frontend's shape: name → [type, widgets, inputs as [name, origin, output]].
function graphOf (nodes) {
  const graph = { links: {}, getNodeById: (id) => made[id] }
  const made = Object.fromEntries(Object.entries(nodes).map(([id, [type, widgets]]) => [id, {
    id, type, graph, inputs: [], outputs: [{ links: [] }], widgets: Object.entries(widgets).map(([name, value]) => ({ name, value }))
  }]))
  for (const [id, [, , inputs = []]] of Object.entries(nodes)) {
    for (const [name, origin] of inputs) {
      const link = `${origin} ${id} ${name}`
      graph.links[link] = { origin_id: origin, target_id: id }
      made[id].inputs.push({ name, link })
      made[origin].outputs[0].links.push(link)
    }
  }
  return made
}

const sampled = (words) => graphOf({
  words, dog: ['Cones2LoadResidual', { file: 'pets/blue_white_dog.safetensors', subject: '' }], cat: ['Cones2TrainResidual', { subject: ' cat ' }],
  apply: ['Cones2ApplyResidualToConditioning', {}, [['conditioning', 'words'], ['residuals.residual0', 'dog'], ['residuals.residual1', 'cat']]],
  painter: ['Cones2LayoutPainter', {}], other: ['Cones2LoadResidual', { file: 'far.pt', subject: '' }],
  sampler: ['Cones2LayoutGuidedKSampler', {}, [['layout', 'painter'], ['positive', 'apply']]]
})

test('subjects and prompt are found through the sampler that a layout steers', () => {
  const { painter } = sampled(['Cones2TextEncode', { text: 'a dog' }])
  assert.deepEqual(surroundings(painter), { names: ['dog', 'cat'], files: { dog: 'pets/blue_white_dog.safetensors' }, prompt: 'a dog' })
})

test('subjects that are linked to the painter itself are found', () => {
  const { painter } = graphOf({ dog: ['Cones2LoadResidual', { file: 'x.pt', subject: 'puppy' }], painter: ['Cones2LayoutPainter', {}, [['residuals.residual0', 'dog']]] })
  assert.deepEqual(surroundings(painter), { names: ['puppy'], files: { puppy: 'x.pt' }, prompt: null })
})

test('a linked residual is called what its file says, once that is known', () => {
  const { painter } = graphOf({ dog: ['Cones2LoadResidual', { file: 'dog_with_badge.pt', subject: '' }], painter: ['Cones2LayoutPainter', {}, [['residuals.residual0', 'dog']]] })
  assert.deepEqual(surroundings(painter, undefined, () => 'Toy Dog'), { names: ['Toy Dog'], files: { 'toy dog': 'dog_with_badge.pt' }, prompt: null })
  assert.deepEqual(surroundings(painter, undefined, () => ''), { names: [], files: {}, prompt: null })
})

test('photos at a residual take the place of the cut-outs in its file', () => {
  const { painter } = graphOf({
    photo: ['LoadImage', { image: 'x.png' }], dog: ['Cones2LoadResidual', { file: 'x.pt', subject: 'dog' }, [['photo', 'photo']]],
    painter: ['Cones2LayoutPainter', {}, [['residuals.residual0', 'dog']]]
  })
  assert.deepEqual(surroundings(painter), { names: ['dog'], files: {}, prompt: null })
})

test('subjects whose pictures the layout places are found', () => {
  const { painter } = graphOf({
    dog: ['Cones2SubjectFromPictures', { subject: 'puppy' }], painter: ['Cones2LayoutPainter', {}],
    adapter: ['Cones2ApplyMIPAdapter', {}, [['layout', 'painter'], ['subjects.subject0', 'dog']]]
  })
  assert.deepEqual(surroundings(painter), { names: ['puppy'], files: {}, prompt: null })
})

test('the prompt of a scene is its own', () => {
  const { scene } = graphOf({ scene: ['Cones2Scene', { prompt: 'a mug' }] })
  assert.deepEqual(surroundings(scene), { names: [], files: {}, prompt: 'a mug' })
})

test('a circle of links ends', () => {
  const { painter } = graphOf({
    a: ['Reroute', {}, [['', 'b']]], b: ['Reroute', {}, [['', 'a']]], painter: ['Cones2LayoutPainter', {}],
    sampler: ['Cones2LayoutGuidedKSampler', {}, [['layout', 'painter'], ['positive', 'a']]]
  })
  assert.deepEqual(surroundings(painter), { names: [], files: {}, prompt: null })
})

test('a reference picture is no part of a phrase', () => {
  assert.ok(isInPrompt('a dog', 'dog + picture 1') && isInPrompt('a dog', '+ picture 2') && !isInPrompt('a dog', 'cat + picture 1'))
})

test('a phrase is in a prompt as whole words, as often as its number says', () => {
  assert.ok(isInPrompt('A Dog, and a hot  dog', 'dog#2') && isInPrompt('a hot dog', 'hot dog') && isInPrompt('a c++ (dog:1.2)', 'dog'))
  assert.ok(!isInPrompt('hotdogs', 'dog') && !isInPrompt('a dog', 'dog#2') && !isInPrompt('a dog', 'd.g'))
})

test('words of a prompt that may be subjects', () => {
  assert.deepEqual(promptWords('a dog[region 0 0 1 1] and the Mug, <lora:x> embedding:y dog über'), ['dog', 'Mug', 'über'])
  assert.equal(nameOfFile('pets/blue_white_dog.safetensors'), 'dog')
  assert.equal(nameOfFile(''), '')
})

test('a connected file is shown at once', () => {
  const { painter } = graphOf({ load: ['LoadImage', { image: 'sub/a b.png' }], painter: ['Cones2LayoutPainter', {}, [['image', 'load']]] })
  assert.equal(connectedPicture(painter), '/view?filename=a+b.png&subfolder=sub&type=input')
})
