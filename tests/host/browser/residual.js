// Load Residual: what its card says, and files dropped on it as a hand drops them.
'use strict'
Object.assign(window.cones2Tests, (() => {
  const nodes = () => app.graph.nodes.filter((node) => node.type === 'Cones2LoadResidual')
  const cards = () => [...document.querySelectorAll('.c2r')].filter((card) => card.isConnected)
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
  const until = async (condition) => { for (let tries = 0; !condition() && tries < 400; tries++) await wait(50) }

  // A node for each file; what their cards say.
  async function showResiduals (files) {
    app.graph.clear()
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [0, 0]
    for (const [index, file] of files.entries()) {
      const node = LiteGraph.createNode('Cones2LoadResidual')
      node.pos = [300 + 340 * index, 300] // clear of menus
      app.graph.add(node)
      node.widgets[0].value = file
    }
    await until(() => cards().length === files.length && cards().every((card) => card.innerText.split('\n').length > 1))
    return cards().map(said)
  }

  const said = (card) => ({ lines: card.innerText.split('\n').filter(Boolean), pictures: [...card.querySelectorAll('img')].filter((image) => image.complete && image.naturalWidth).length })

  // Drop a file on the title of the first node; its file afterwards, what its card says, and messages on the screen.
  async function dropResidual ({ name, bytes }) {
    const [node] = nodes()
    const before = node.widgets[0].value
    const bar = document.querySelector('#graph-canvas').getBoundingClientRect()
    const [x, y] = [bar.left + node.pos[0] + 100, bar.top + node.pos[1] + 12]
    const data = new DataTransfer()
    data.items.add(new File([new Uint8Array(bytes)], name))
    for (const kind of ['dragenter', 'dragover', 'drop']) {
      document.elementFromPoint(x, y).dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, clientX: x, clientY: y, dataTransfer: data }))
      await wait(200)
    }
    await until(() => node.widgets[0].value !== before || window.cones2Tests.dialogs().length)
    await wait(1500)
    const { output } = await app.graphToPrompt()
    return { file: output[node.id].inputs.file, card: said(cards()[0]), messages: window.cones2Tests.dialogs() }
  }

  // A Scene with one subject of a file, and that subject as a plain word: what is painted in the middle of its region.
  async function paintedCutout (file) {
    const { cones2Painter: painter } = app.graph.nodes.find((node) => node.type === 'Cones2Scene').widgets.find((widget) => widget.cones2Painter)
    const middle = async () => {
      await wait(1500)
      painter.draw()
      const [left, top, width, height] = painter.state.layout.subjects[0].shapes[0].box
      const at = [(left + 0.3 * width) * painter.canvas.width, (top + 0.55 * height) * painter.canvas.height].map(Math.round)
      return [...painter.canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3)
    }
    await until(() => painter.cutout(painter.state.layout.subjects[0]))
    const withFile = await middle()
    painter.state.changeSubject(0, { residual: undefined, strength: undefined })
    const plain = await middle()
    painter.state.changeSubject(0, { residual: file, weight: -1 })
    return { withFile, plain, keptOut: await middle() }
  }

  return { showResiduals, dropResidual, paintedCutout }
})())
