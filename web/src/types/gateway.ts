// Generated from the gateway's docs/openapi.json by `npm run types`. Do not edit.

export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description The answer of `stream: false`. */
        ChatAnswer: {
            /** @description All text of the answer. */
            text: string;
            metadata: components["schemas"]["ChatMetadata"];
        };
        /** @description An error before the stream, on every route but Claude's. */
        ChatError: {
            /** @description What is wrong, for a person. */
            error: string;
            code: components["schemas"]["ErrorCode"];
            /** @description The request's id, as in X-Request-Id. */
            requestId: string;
            /** @description More of it, safe to show. */
            message?: string;
            /** @description Whole seconds, as in Retry-After. */
            retryAfter?: number;
            /** @description The limit that refused, as in RateLimit. */
            limit?: string;
            /**
             * @description There where the status looks like it, and no retry helps.
             * @constant
             */
            retryable?: false;
        };
        /** @description What a program can act on. */
        ChatErrorMetadata: {
            code: components["schemas"]["ErrorCode"];
            /** @description Whether the same request may succeed later. */
            retryable: boolean;
            /** @description Milliseconds after which it may, where that is known. */
            retryAfterMs?: number;
            /** @description The request's id, as in X-Request-Id. */
            requestId: string;
        };
        /** @description What a line that starts with `data: ` holds. Ignore types that you do not know. */
        ChatFrame: components["schemas"]["TextFrame"] | components["schemas"]["ThinkingFrame"] | components["schemas"]["ErrorFrame"] | components["schemas"]["DoneFrame"];
        /** @description What an answer took. */
        ChatMetadata: {
            /** @description The request's id, as in X-Request-Id. */
            requestId: string;
            /** @description The model that answered. */
            model: string | null;
            /** @description Claude's stop_reason, such as end_turn. */
            stopReason: string | null;
            usage: components["schemas"]["ChatUsage"];
            /** @description null where there was no token. */
            timeToFirstTokenMs: number | null;
            durationMs: number;
            tokensPerSecond: number | null;
            /** @description The price of this answer, by Claude's price list. */
            costUsd: number | null;
            /** @description Where the limits stand; absent without any. */
            quota?: components["schemas"]["Limit"][];
        };
        /** @description Body of ``POST /api/chat/stream``. */
        ChatRequest: {
            /** @description What the user says now. Required unless messages holds it. */
            message?: string | null;
            /** @description The conversation so far. */
            messages?: components["schemas"]["ChatTurn"][];
            /** @description System prompt, if the gateway allows callers to bring one. */
            systemPrompt?: string | null;
            /** @description The same as systemPrompt. */
            system?: string | null;
            model?: string | null;
            maxTokens?: number | null;
            temperature?: number | null;
            stopSequences?: string[] | null;
            /** @description Passages to answer from (retrieval-augmented answers). */
            context?: string | string[] | null;
            /** @description Language of the answer, for the template of answers from a context. */
            language?: string | null;
            metadata?: components["schemas"]["ChatRequestMetadata"] | null;
            /** @description Claude's thinking parameter, or true for adaptive thinking. */
            thinking?: (components["schemas"]["ChatThinking"] | components["schemas"]["ChatThinkingBudget"]) | boolean | null;
            /**
             * @description false gives one JSON answer.
             * @default true
             */
            stream?: boolean;
        };
        /** @description Who asks. */
        ChatRequestMetadata: {
            /** @description The application's own user, for limits per user. */
            userId?: string | null;
        };
        /** @description Claude's thinking parameter where it takes no budget. */
        ChatThinking: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "adaptive" | "disabled";
        } & {
            [key: string]: unknown;
        };
        /** @description Claude's thinking parameter with a budget. */
        ChatThinkingBudget: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "enabled";
            /** @description Less than maxTokens. */
            budget_tokens: number;
        } & {
            [key: string]: unknown;
        };
        /** @description One turn of a conversation. */
        ChatTurn: {
            /** @enum {string} */
            role: "user" | "assistant";
            /** @description Text, or Claude's content blocks. */
            content: string | components["schemas"]["ClaudeContentBlock"][];
        };
        /** @description Tokens; inputTokens holds none of the cache's. */
        ChatUsage: {
            inputTokens: number;
            outputTokens: number;
            cacheReadTokens: number;
            cacheCreationTokens: number;
        };
        /** @description One of Claude's content blocks, of any type: text, an image, a document, ... Its fields pass unchanged. */
        ClaudeContentBlock: {
            type: string;
        } & {
            [key: string]: unknown;
        };
        /** @description Ends a good answer, always. */
        DoneFrame: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "done";
            /** @description Empty. */
            token: string;
            /** @description Unix time in milliseconds. */
            timestamp: number;
            metadata: components["schemas"]["ChatMetadata"];
        };
        /**
         * @description Stable.
         * @enum {string}
         */
        ErrorCode: "access_cut" | "deadline_exceeded" | "draining" | "forbidden" | "header_too_large" | "internal_error" | "invalid_request" | "message_required" | "method_not_allowed" | "model_not_allowed" | "not_found" | "origin_not_allowed" | "overloaded" | "query_too_long" | "rate_limited" | "request_timeout" | "request_too_large" | "slow_client" | "store_unavailable" | "tenant_suspended" | "thread_unsupported_request" | "too_many_failed_authentications" | "unauthenticated" | "unsupported_media_type" | "upstream_api_error" | "upstream_authentication_error" | "upstream_billing_error" | "upstream_conflict_error" | "upstream_credential" | "upstream_error" | "upstream_invalid_request_error" | "upstream_malformed" | "upstream_not_found_error" | "upstream_overloaded_error" | "upstream_permission_error" | "upstream_rate_limit_error" | "upstream_request_too_large" | "upstream_timeout" | "upstream_timeout_error" | "upstream_truncated" | "upstream_unavailable" | "upstream_unreachable";
        /** @description Ends a bad answer. */
        ErrorFrame: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "error";
            /** @description A sentence for a person. */
            token: string;
            /** @description Unix time in milliseconds. */
            timestamp: number;
            metadata: components["schemas"]["ChatErrorMetadata"];
        };
        /** @description A limit and where it stands. */
        Limit: {
            /**
             * @description As in the RateLimit header.
             * @example tenant-usd-per-month
             */
            name: string;
            /** @enum {string} */
            unit: "requests" | "concurrent" | "input_tokens" | "output_tokens" | "tokens" | "usd";
            /** @description The most that is admitted; of usd in dollars. */
            limit: number;
            /** @description What was used in the window, day or month. */
            used: number;
            /** @description What requests in flight may use at most, until they end. */
            held: number;
            remaining: number;
            /** @description Until more is left. */
            resetSeconds: number | null;
        };
        /** @description A piece of the answer. */
        TextFrame: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "text";
            /** @description The piece to append. */
            token: string;
            /** @description Unix time in milliseconds. */
            timestamp: number;
        };
        /** @description A piece of thinking; only if `thinking` was asked for. */
        ThinkingFrame: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "thinking";
            /** @description The piece. */
            token: string;
            /** @description Unix time in milliseconds. */
            timestamp: number;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type ChatAnswer = components['schemas']['ChatAnswer'];
export type ChatError = components['schemas']['ChatError'];
export type ChatErrorMetadata = components['schemas']['ChatErrorMetadata'];
export type ChatFrame = components['schemas']['ChatFrame'];
export type ChatMetadata = components['schemas']['ChatMetadata'];
export type ChatRequest = components['schemas']['ChatRequest'];
export type ChatRequestMetadata = components['schemas']['ChatRequestMetadata'];
export type ChatThinking = components['schemas']['ChatThinking'];
export type ChatThinkingBudget = components['schemas']['ChatThinkingBudget'];
export type ChatTurn = components['schemas']['ChatTurn'];
export type ChatUsage = components['schemas']['ChatUsage'];
export type ClaudeContentBlock = components['schemas']['ClaudeContentBlock'];
export type DoneFrame = components['schemas']['DoneFrame'];
export type ErrorCode = components['schemas']['ErrorCode'];
export type ErrorFrame = components['schemas']['ErrorFrame'];
export type Limit = components['schemas']['Limit'];
export type TextFrame = components['schemas']['TextFrame'];
export type ThinkingFrame = components['schemas']['ThinkingFrame'];
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
