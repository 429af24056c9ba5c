// Upload button and file drop of Load Guidance Config: the config, its layout and its residuals go into
// one folder of ComfyUI's input, where the node finds them beside each other.
import { app } from '../../scripts/app.js'
import { api } from '../../scripts/api.js'
import { accepted, pickFiles } from './painter/files.js'
import { choose, takeDrops, tell } from './uploads.js'

const NODE = 'Cones2LoadGuidanceConfig'
const NAME = 'Load Guidance Config'
const ACCEPT = '.json,.png,.jpg,.jpeg,.webp,.bmp,.safetensors,.pt'

// FNV-1a over names and contents: the same files share a folder, others never replace them.
async function fingerprint (files) {
  let hash = 0x811c9dc5
  const add = (bytes) => bytes.forEach((byte) => { hash = Math.imul(hash ^ byte, 0x01000193) >>> 0 })
  for (const file of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    add(new TextEncoder().encode(file.name))
    add(new Uint8Array(await file.arrayBuffer()))
  }
  return hash.toString(16).padStart(8, '0')
}

async function uploadFile (file, subfolder) {
  const body = new FormData()
  body.append('image', file)
  body.append('type', 'input')
  body.append('subfolder', subfolder)
  body.append('overwrite', 'true')
  const answer = await api.fetchApi('/upload/image', { method: 'POST', body })
  if (!answer.ok) throw new Error(`${file.name}: the server answered ${answer.status}`)
}

async function upload (widget, chosen) {
  let files
  try {
    files = accepted(chosen, ACCEPT)
  } catch (error) {
    tell(NAME, error.message)
    return
  }
  const configs = files.filter((file) => file.name.toLowerCase().endsWith('.json'))
  if (configs.length !== 1) {
    tell(NAME, `Choose one .json config together with its layout and residuals; ${configs.length} were chosen.`)
    return
  }
  const [config] = configs
  const subfolder = `cones2/${config.name.slice(0, -'.json'.length)}-${await fingerprint(files)}`
  try {
    await Promise.all(files.map((file) => uploadFile(file, subfolder)))
  } catch (error) {
    tell(NAME, `The upload failed: ${error.message}`)
    return
  }
  choose(widget, `${subfolder}/${config.name}`)
}

app.registerExtension({
  name: 'cones2.uploadConfig',
  nodeCreated (node) {
    if (node.comfyClass !== NODE) return
    const widget = node.widgets.find((candidate) => candidate.name === 'config')
    const button = node.addWidget('button', 'upload', null, () => pickFiles(ACCEPT, (files) => upload(widget, files)), { serialize: false })
    button.label = 'upload config, layout and residuals'
    takeDrops(node, (name) => name.endsWith('.json'), (files) => upload(widget, files))
  }
})
