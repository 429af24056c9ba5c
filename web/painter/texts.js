// What the painter and the card of a residual say, in the language of the page.

let language = 'en'

/** Speak another language from now on; English where it is not known. @param {unknown} locale such as "zh" */
export function speak (locale) {
  language = typeof locale === 'string' ? locale : 'en'
}

/**
 * A text in the page's language.
 * @param {string} english with names of values, such as "{name}" @param {Record<string, string | number>} [values]
 */
export function t (english, values = {}) {
  const text = (language === 'zh' && CHINESE[english]) || english
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole))
}

/** @type {Record<string, string>} */
export const CHINESE = {
  'Add a subject': '添加主体',
  'Add a subject: a word of the prompt': '添加主体:提示词中的一个词',
  'Add a subject: a word of the prompt.': '添加主体:提示词中的一个词。',
  '+ subject': '+ 主体',
  '"{name}" is not in the prompt: click to rename it': '提示词中没有“{name}”:点击可改名',
  '"{name}" has no region: draw one': '“{name}”没有区域:请画一个',
  '{name} (key {key}); click again for more': '{name}(按键 {key});再次点击查看更多',
  '{name}; click again for more': '{name};再次点击查看更多',
  'word of the prompt': '提示词中的词',
  'Word of the prompt': '提示词中的词',
  Add: '添加',
  'All linked: {names}': '全部已连接:{names}',
  Subject: '主体',
  'How strongly the subject is pulled towards its region; 2.5 in the paper': '主体被拉向其区域的强度;论文中为 2.5',
  Word: '词',
  Weight: '权重',
  Color: '颜色',
  'To the back': '移到后面',
  'To the front': '移到前面',
  'Clear region': '清除区域',
  Remove: '移除',
  '+ subject from a file': '+ 从文件添加主体',
  'Word of subject {number}': '第 {number} 个主体的词',
  'Strength of the residual': '残差的强度',
  'Strength of {name}': '{name} 的强度',
  linked: '已连接',
  'plain word': '普通词',
  'Remove {name}': '移除 {name}',
  'Residual in models/residuals': 'models/residuals 中的残差',
  Residual: '残差',
  'Box (R)': '方框 (R)',
  'Ellipse (O)': '椭圆 (O)',
  'Brush (B)': '画笔 (B)',
  'Eraser (E)': '橡皮擦 (E)',
  'Undo (Ctrl+Z)': '撤销 (Ctrl+Z)',
  'Redo (Ctrl+Y)': '重做 (Ctrl+Y)',
  'More: copy, mirror, import, export, background': '更多:复制、镜像、导入、导出、背景',
  'Back into the node (Esc)': '回到节点 (Esc)',
  Larger: '放大',
  'Brush size ([ and ], or Alt+wheel)': '画笔大小([ 和 ],或 Alt+滚轮)',
  'Brush size': '画笔大小',
  More: '更多',
  Duplicate: '复制',
  Delete: '删除',
  Mirror: '镜像',
  'Start over': '重新开始',
  Snap: '吸附',
  Thirds: '三分线',
  Background: '背景',
  'Connected image': '已连接的图像',
  'Last result': '上次的结果',
  None: '无',
  Import: '导入',
  'Picture, config or boxes…': '图片、配置或方框…',
  'Mask for the subject…': '主体的遮罩…',
  Export: '导出',
  'Layout (JSON)': '布局 (JSON)',
  'Picture and table': '图片和颜色表',
  'The file has {count} characters; {limit} is the limit.': '文件有 {count} 个字符;上限为 {limit}。',
  'The text is not JSON.': '文本不是 JSON。',
  'The JSON is neither a layout, nor a guidance_config.json, nor boxes.': '该 JSON 既不是布局,也不是 guidance_config.json 或方框。',
  '"color_context" of the config is not an object.': '配置中的 "color_context" 不是对象。',
  'The picture has only black, white and gray: paint each subject in a color of its own.': '图片只有黑、白和灰色:请用不同的颜色画每个主体。',
  'The mask is empty: the subject must be white.': '遮罩是空的:主体必须为白色。',
  'The file has {count} bytes; {limit} is the limit.': '文件有 {count} 字节;上限为 {limit}。',
  'The file is not a picture that this browser can read.': '浏览器无法将该文件读作图片。',
  'This browser draws no pictures.': '此浏览器无法绘制图片。',
  'The picture cannot be written.': '无法写出图片。',
  Subjects: '主体',
  Layout: '布局',
  'Layout: arrows move, Enter chooses the next region, N draws one': '布局:方向键移动,Enter 选择下一个区域,N 画新区域',
  Tools: '工具',
  '{subjects} subjects, {shapes} shapes: draw in the node': '{subjects} 个主体,{shapes} 个形状:请在节点中绘制',
  'This layout cannot be read here: it is damaged, or of a newer version. Drawing replaces it.': '无法读取此布局:它已损坏,或来自更新的版本。绘制会替换它。',
  'Drag on empty ground: a new region (Ctrl: also on others). Inside: move, Alt: copy. Right button: erase. Two fingers: zoom, move. Keys: 1–9 subject, R box, O ellipse, B brush, E eraser, [ ] size, N new, Enter next, arrows move (Shift: 5 %), Alt+arrows resize, D duplicate, Delete, Page Up/Down order, F2 subject, + add, Ctrl+Z / Ctrl+Y, Ctrl+C / V, Esc.':
    '在空白处拖动:新区域(Ctrl:也可在其他区域上)。在区域内:移动,Alt:复制。右键:擦除。双指:缩放、移动。按键:1–9 主体,R 方框,O 椭圆,B 画笔,E 橡皮擦,[ ] 大小,N 新建,Enter 下一个,方向键移动(Shift:5 %),Alt+方向键调整大小,D 复制,Delete 删除,Page Up/Down 前后顺序,F2 主体,+ 添加,Ctrl+Z / Ctrl+Y,Ctrl+C / V,Esc。',
  'upload…': '上传…',
  'Upload a residual, or drop its file on the node': '上传残差,或将文件拖到节点上',
  'no name in the file: type the word of the prompt': '文件中没有名称:请填写提示词中的词',
  'unknown model': '未知模型',
  'the demo model': '演示模型',
  'Drop one .safetensors or .pt file.': '请拖入一个 .safetensors 或 .pt 文件。',
  'more settings': '更多设置',
  'fewer settings': '更少设置'
}
