import js from '@eslint/js'
import globals from 'globals'

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: 'module', globals: { ...globals.browser, LiteGraph: 'readonly' } },
    rules: {
      'no-restricted-globals': ['error', 'eval'],
      'no-restricted-syntax': ['error', "MemberExpression[property.name='prototype']"],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'max-lines': ['error', 350],
      'no-var': 'error',
      'prefer-const': ['error', { destructuring: 'all' }]
    }
  }
]
