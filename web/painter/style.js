// The painter's looks, in the colors of the frontend's theme.

const CSS = `
.c2p { display: flex; flex-direction: column; gap: 4px; box-sizing: border-box; width: 100%; height: 100%; min-width: 0; position: relative;
  color: var(--input-text, #ddd); font: 12px/1.2 Inter, system-ui, sans-serif; user-select: none; -webkit-user-select: none; }
.c2p * { box-sizing: border-box; }
.c2p-row { display: flex; flex: 0 0 auto; align-items: center; gap: 3px; min-height: 26px; overflow-x: auto; scrollbar-width: none; }
.c2p-row::-webkit-scrollbar { display: none; }
.c2p button, .c2p select, .c2p input { font: inherit; color: inherit; background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e);
  border-radius: 6px; height: 26px; padding: 0 7px; margin: 0; min-width: 0; flex: 0 0 auto; }
.c2p button { cursor: pointer; white-space: nowrap; }
.c2p button:hover { border-color: var(--input-text, #ddd); }
.c2p button:focus-visible, .c2p select:focus-visible, .c2p input:focus-visible { outline: 2px solid var(--p-primary-color, #3b82f6); outline-offset: -1px; }
.c2p button[aria-pressed=true] { background: var(--p-primary-color, #3b82f6); border-color: var(--p-primary-color, #3b82f6); color: #fff; }
.c2p button:disabled { opacity: .4; cursor: default; }
.c2p-tool { width: 28px; padding: 0 !important; display: inline-flex; align-items: center; justify-content: center; }
.c2p-tool svg { width: 16px; height: 16px; fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round; }
.c2p-tools { flex-wrap: wrap; overflow: visible; }
.c2p input[type=range] { flex: 4 1 44px; width: 44px; max-width: 120px; padding: 0; accent-color: var(--p-primary-color, #3b82f6); }
.c2p-space { flex: 1 1 0; min-width: 0; }
.c2p-chip { display: inline-flex; align-items: center; gap: 5px; border-radius: 13px !important; max-width: 160px; }
.c2p-chip span { overflow: hidden; text-overflow: ellipsis; }
.c2p-chip i { width: 10px; height: 10px; border-radius: 50%; flex: 0 0 auto; border: 1px solid #0006; }
.c2p-chip[aria-pressed=true] { background: var(--chip) !important; border-color: var(--chip) !important; color: var(--chip-text) !important; font-weight: 600; }
.c2p-chip.missing { border: 1px dashed #f14a4a !important; }
.c2p-chip.missing[aria-pressed=true] { border-color: #f14a4a !important; box-shadow: inset 0 0 0 1px var(--comfy-menu-bg, #333); }
.c2p-chip.empty:not([aria-pressed=true]) { opacity: .5; }
.c2p-chip.empty i { background: transparent !important; border-style: dashed; border-color: currentColor; }
.c2p-stage { position: relative; flex: 1 1 auto; min-height: 120px; min-width: 0; overflow: hidden; border-radius: 6px; }
.c2p-stage canvas { position: absolute; touch-action: none; border-radius: 4px; outline: 1px solid var(--border-color, #4e4e4e); outline-offset: -1px; }
.c2p-keys { position: absolute; left: 0; top: 0; width: 1px !important; height: 1px !important; opacity: 0; padding: 0 !important; border: 0 !important; pointer-events: none; }
.c2p-keys:focus-visible ~ canvas, .c2p-keys:focus ~ canvas { outline: 2px solid var(--p-primary-color, #3b82f6); outline-offset: -2px; }
.c2p-hint { position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; text-align: center; padding: 8px; pointer-events: none; opacity: .8; }
.c2p-pop { position: absolute; z-index: 5; left: 4px; right: 4px; max-height: calc(100% - 40px); overflow: auto; padding: 8px; display: flex; flex-direction: column; gap: 6px;
  background: var(--comfy-menu-bg, #353535); border: 1px solid var(--border-color, #4e4e4e); border-radius: 8px; box-shadow: 0 4px 16px #0008; }
.c2p-pop.up { bottom: 32px; } .c2p-pop.down { top: 32px; }
.c2p-pop label { display: flex; align-items: center; gap: 6px; } .c2p-pop label > span { flex: 0 0 62px; opacity: .8; }
.c2p-pop label > input, .c2p-pop label > select { flex: 1 1 0; } .c2p input[type=color] { padding: 2px; }
.c2p-grid { display: flex; flex-wrap: wrap; gap: 4px; } .c2p-grid > b { flex: 1 0 100%; font-weight: 500; opacity: .8; }
.c2p-say { color: var(--input-text, #ddd); background: #7a1f1f; color: #fff; border-radius: 6px; padding: 4px 8px; }
.c2p-rows { display: flex; flex-direction: column; gap: 4px; flex: 0 0 auto; }
.c2p-rows .c2p-row { overflow: visible; }
.c2p-rows i { width: 12px; height: 12px; border-radius: 50%; flex: 0 0 auto; }
.c2p-rows input[type=text] { flex: 2 1 0; } .c2p-rows select { flex: 3 1 0; } .c2p-rows input[type=number] { flex: 0 0 56px; width: 56px; }
dialog.c2p-dialog { width: 80vw; height: 84vh; max-width: none; max-height: none; padding: 12px; margin: auto; border-radius: 10px;
  border: 1px solid var(--border-color, #4e4e4e); background: var(--comfy-menu-bg, #353535); overflow: hidden; }
dialog.c2p-dialog::backdrop { background: #000a; }
@media (pointer: coarse) { .c2p button, .c2p select, .c2p input { height: 34px; } .c2p-tool { width: 34px; } }
`

/** Put the style sheet into the page, once. */
export function addStyle () {
  if (document.getElementById('cones2-painter-style')) return
  const style = document.createElement('style')
  style.id = 'cones2-painter-style'
  style.textContent = CSS
  document.head.append(style)
}
