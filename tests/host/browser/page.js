// Functions that run inside the frontend's page; serve.js calls them by name.
'use strict'
window.cones2Tests = (() => {
  const graph = () => app.rootGraph

  // Open a workflow file; what the frontend could not make of it.
  async function load (workflow) {
    await app.loadGraphData(workflow, true, true, 'test')
    const everywhere = [graph(), ...graph().subgraphs.values()].flatMap((each) => each.nodes)
    const typesWhere = (test) => everywhere.filter(test).map((node) => node.type)
    return {
      nodes: graph().nodes.length,
      missing: typesWhere((node) => !LiteGraph.registered_node_types[node.type]),
      marked: typesWhere((node) => node.has_errors), // red: a file they name is not there
      dialogs: dialogs()
    }
  }

  // The text of what lies over the canvas.
  const dialogs = () => [...document.querySelectorAll('[role=dialog], .p-toast-message')].map((box) => box.innerText.slice(0, 300))

  // What the Run button would send, and the file that Save would write.
  async function prompt () {
    const { output, workflow } = await app.graphToPrompt()
    return { output, workflow }
  }

  // Press Run, for some output nodes or all, and wait for the end: "success" or the sentence of the error.
  function run (nodes) {
    const api = window.comfyAPI.api.api
    const ended = new Promise((resolve) => {
      api.addEventListener('execution_success', () => resolve('success'), { once: true })
      api.addEventListener('execution_error', (event) => resolve(event.detail.exception_message), { once: true })
    })
    return Promise.all([ended, app.queuePrompt(0, 1, nodes ?? undefined)]).then(([status]) => status)
  }

  // Watch for the end of a run that somebody else starts, and wait for it: "success" or the sentence of the error.
  let watched
  function watch () {
    const api = window.comfyAPI.api.api
    watched = new Promise((resolve) => {
      api.addEventListener('execution_success', () => resolve('success'), { once: true })
      api.addEventListener('execution_error', (event) => resolve(event.detail.exception_message), { once: true })
    })
  }
  const watchedEnd = () => watched

  // Press the ⓘ of a node of this type; the text of the help that appears.
  async function help (type) {
    app.canvas.selectNode(graph().nodes.find((node) => node.type === type))
    const page = () => document.querySelector('.node-help-content')
    await until(() => document.querySelector('[data-testid="info-button"]'))
    document.querySelector('[data-testid="info-button"]').click()
    await until(() => page()?.querySelector('h2'))
    return page().innerText
  }

  async function until (condition, milliseconds = 15000) {
    for (const end = Date.now() + milliseconds; !condition();) {
      if (Date.now() > end) throw new Error(`not within ${milliseconds} ms: ${condition}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  // The ids of the nodes of a type.
  const idsOf = (type) => graph().nodes.filter((node) => node.type === type).map((node) => String(node.id))

  const fitView = () => app.extensionManager.command.execute('Comfy.Canvas.FitView')

  // Where the graph is on the page, in pixels, with a margin.
  function graphBox (margin = 12) {
    const boxes = [...graph().nodes, ...graph().groups].map((item) => item.boundingRect ?? item._bounding)
    const { scale, offset } = app.canvas.ds
    const edge = (axis, end) => boxes.map((box) => (box[axis] + (end ? box[axis + 2] : 0) + offset[axis]) * scale)
    const [x, y] = [0, 1].map((axis) => Math.max(0, Math.min(...edge(axis, false)) - margin))
    const [right, bottom] = [0, 1].map((axis) => Math.max(...edge(axis, true)) + margin)
    return { x, y, width: right - x, height: bottom - y }
  }

  // Nothing but the graph: no side bar, no menus, no messages.
  function bare () {
    if (!app.extensionManager.focusMode) app.extensionManager.command.execute('Workspace.ToggleFocusMode')
    app.extensionManager.toast.removeAll?.()
  }

  return { load, prompt, run, watch, watchedEnd, fitView, dialogs, bare, idsOf, graphBox, help }
})()
