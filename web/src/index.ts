export * from './components'
export * from './core'
export * from './react'
