export type {
  ChatError,
  ChatErrorMetadata,
  ChatFrame,
  ChatMetadata,
  ChatRequest,
  ChatTurn,
  ChatUsage,
  ErrorCode,
  Limit,
} from '../types/gateway'
export { StreamError, type StreamErrorDetails } from './errors'
export { StreamManager, streamManager } from './streamManager'
export type {
  CompleteHandler,
  ErrorHandler,
  RequestOptions,
  StreamErrorCode,
  StreamManagerOptions,
  StreamOptions,
  StreamToken,
  TokenHandler,
} from './types'
