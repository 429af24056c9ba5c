// Chromium on a ComfyUI frontend, driven by JSON lines: {"open": url}, {"call": name, "argument": …} for a
// function of page.js or of a script that {"addScript": file} added, {"act": steps} of a real mouse, keyboard or finger,
// {"screenshot": file, …}. Each answer is one JSON line on stdout.
'use strict'
const fs = require('fs')
const path = require('path')
const readline = require('readline')
const { chromium } = require('playwright-core')

const SETTINGS = {
  'Comfy.TutorialCompleted': true, // else a dialog of templates covers a first run
  'Comfy.VueNodes.Enabled': false, // what a local installation starts with
  'LiteGraph.Canvas.MinFontSizeForLOD': 0 // text stays readable in a screenshot of a large graph
}
const OFFLINE = /404|Content Security Policy|Fetch API cannot load/ // the frontend asks model hubs for file sizes
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking']
const ready = () =>
  window.app?.isGraphReady && app.vueAppReady && app.extensionManager?.workflow?.activeWorkflow && document.querySelector('#graph-canvas')

class Frontend {
  constructor (browser) {
    this.browser = browser
    this.problems = []
  }

  // A fresh page; device: options of its context, such as hasTouch and deviceScaleFactor.
  async newPage (device) {
    await this.page?.context().close()
    const context = await this.browser.newContext({ viewport: { width: 1600, height: 900 }, ...device })
    const page = await context.newPage()
    this.page = page
    this.device = JSON.stringify(device)
    page.on('pageerror', (error) => this.problems.push(`pageerror: ${error}`))
    page.on('console', (message) => {
      if (message.type() === 'error' && !OFFLINE.test(message.text())) this.problems.push(message.text())
    })
  }

  async open ({ open, settings = {}, device = {} }) {
    if (!this.page || this.device !== JSON.stringify(device)) await this.newPage(device)
    await this.page.request.post(`${open}/api/settings`, { data: { ...SETTINGS, ...settings } })
    await this.page.goto(open, { waitUntil: 'domcontentloaded' })
    await this.page.waitForFunction(ready, null, { timeout: 200000 }) // on a busy machine
    await this.addScript({ addScript: path.join(__dirname, 'page.js') })
    this.problems.length = 0
    return null
  }

  async addScript ({ addScript }) {
    // not addScriptTag: it fails when the page itself runs into its content security policy meanwhile
    await this.page.evaluate(fs.readFileSync(addScript, 'utf8') + '\nnull')
    return null
  }

  call ({ call, argument }) {
    return this.page.evaluate(([name, value]) => window.cones2Tests[name](value), [call, argument ?? null])
  }

  async screenshot ({ screenshot, width = 1600, height = 900, ...options }) {
    await this.page.setViewportSize({ width, height })
    await this.page.waitForTimeout(500) // the canvas follows
    await this.page.evaluate(() => window.cones2Tests.fitView())
    await this.page.waitForTimeout(1500) // the view moves there in an animation
    const clip = await this.page.evaluate(() => window.cones2Tests.graphBox())
    await this.page.screenshot({ path: screenshot, clip, ...options })
    return null
  }

  // Steps such as ["move", x, y], ["down", "right"], ["up"], ["key", "Control+z"], ["type", "dog"], ["wheel", -100],
  // ["touch", [[x, y], …]], ["wait", milliseconds] and ["shot", file].
  async act ({ act }) {
    for (const [step, ...values] of act) await this[`act_${step}`](...values)
    return null
  }

  act_move (x, y) { return this.page.mouse.move(x, y, { steps: 4 }) }
  act_down (button = 'left') { return this.page.mouse.down({ button }) }
  act_up (button = 'left') { return this.page.mouse.up({ button }) }
  act_click (x, y) { return this.page.mouse.click(x, y) }
  act_dblclick (x, y) { return this.page.mouse.dblclick(x, y) }
  act_hold (key) { return this.page.keyboard.down(key) }
  act_release (key) { return this.page.keyboard.up(key) }
  act_key (key) { return this.page.keyboard.press(key) }
  act_type (text) { return this.page.keyboard.type(text) }
  act_wheel (distance) { return this.page.mouse.wheel(0, distance) }
  act_shot (file) { return this.page.screenshot({ path: file }) }
  act_wait (milliseconds) { return this.page.waitForTimeout(milliseconds) }

  async act_touch (points) {
    const session = await this.page.context().newCDPSession(this.page)
    const send = (type, touchPoints) => session.send('Input.dispatchTouchEvent', { type, touchPoints })
    await send('touchStart', [{ x: points[0][0], y: points[0][1] }])
    for (const [x, y] of points.slice(1)) await send('touchMove', [{ x, y }])
    await send('touchEnd', [])
    await session.detach()
  }

  // Two fingers that begin at two points and end at two others.
  async act_pinch (from, to) {
    const session = await this.page.context().newCDPSession(this.page)
    const send = (type, points) => session.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) })
    await send('touchStart', from.slice(0, 1))
    await send('touchStart', from)
    for (let step = 1; step <= 4; step++) {
      await send('touchMove', from.map(([x, y], finger) => [x + (to[finger][0] - x) * step / 4, y + (to[finger][1] - y) * step / 4]))
    }
    await send('touchEnd', [])
    await session.detach()
  }

  async takeProblems () {
    return this.problems.splice(0)
  }

  answer (request) {
    const command = ['open', 'addScript', 'call', 'act', 'screenshot', 'takeProblems'].find((name) => name in request)
    return this[command](request)
  }
}

const reply = (answer) => process.stdout.write(JSON.stringify(answer) + '\n')

async function main () {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS })
  const frontend = new Frontend(browser)
  reply({ ready: true })
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      reply({ value: (await frontend.answer(JSON.parse(line))) ?? null })
    } catch (error) {
      reply({ error: error.name, message: error.message, traceback: error.stack })
    }
  }
  await browser.close()
}

main()
