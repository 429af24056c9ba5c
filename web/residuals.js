// Residual files as the server knows them, for every node of the page.
import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { Residuals } from './painter/residuals.js'

const ADDRESS = '/cones2/residual'

async function answered (question, options) {
  const answer = await api.fetchApi(`${ADDRESS}?${new URLSearchParams(question)}`, options)
  const found = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }))
  if (!answer.ok) throw new Error(found.error)
  return found
}

export const residuals = new Residuals((file) => answered({ file }))

/** Store a file in models/residuals; the name that it has there. */
export async function uploadResidual (file) {
  const { file: kept } = await answered({ name: file.name }, {
    method: 'POST', body: file, headers: { 'Content-Type': 'application/octet-stream' }
  })
  residuals.forget()
  return kept
}

app.registerExtension({
  name: 'cones2.residuals',
  setup () {
    api.addEventListener('execution_success', () => residuals.forget()) // a run may have written some
  },
  refreshComboInNodes: () => residuals.forget()
})
