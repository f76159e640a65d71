package protocol

// Error is a violation of the protocol by the client. Text is the reply, without the leading '-' and the line end; the
// connection is to be closed once it is sent.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// What a Reader reports. "expected '$'" carries a byte and is made where it is found.
var (
	errMultibulkLength     = &Error{"ERR Protocol error: invalid multibulk length"}
	errMultibulkLengthAuth = &Error{"ERR Protocol error: unauthenticated multibulk length"}
	errMultibulkLine       = &Error{"ERR Protocol error: too big mbulk count string"}
	errBulkLength          = &Error{"ERR Protocol error: invalid bulk length"}
	errBulkLengthAuth      = &Error{"ERR Protocol error: unauthenticated bulk length"}
	errBulkLine            = &Error{"ERR Protocol error: too big bulk count string"}
	errInlineLine          = &Error{"ERR Protocol error: too big inline request"}
	errInlineQuotes        = &Error{"ERR Protocol error: unbalanced quotes in request"}
)

// Error replies that more than one command gives, as [Writer.Error] takes them. A text only one command uses stands
// beside that command.
const (
	ErrWrongType     = "WRONGTYPE Operation against a key holding the wrong kind of value"
	ErrSyntax        = "ERR syntax error"
	ErrNoSuchKey     = "ERR no such key"
	ErrSameObject    = "ERR source and destination objects are the same"
	ErrIndexRange    = "ERR index out of range"
	ErrNotInteger    = "ERR value is not an integer or out of range"
	ErrNotFloat      = "ERR value is not a valid float"
	ErrOutOfRange    = "ERR value is out of range"
	ErrNotPositive   = "ERR value is out of range, must be positive"
	ErrOffsetRange   = "ERR offset is out of range"
	ErrBitOffset     = "ERR bit offset is not an integer or out of range"
	ErrOverflow      = "ERR increment or decrement would overflow"
	ErrNaNOrInfinity = "ERR increment would produce NaN or Infinity"
	ErrScoreNaN      = "ERR resulting score is not a number (NaN)"
	ErrMinMaxFloat   = "ERR min or max is not a float"
	ErrMinMaxString  = "ERR min or max not valid string range item"
	ErrDBIndex       = "ERR DB index is out of range"
	ErrInvalidCursor = "ERR invalid cursor"
	ErrStringTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

	ErrNoAuth    = "NOAUTH Authentication required."
	ErrWrongPass = "WRONGPASS invalid username-password pair or user is disabled."
	ErrNoProto   = "NOPROTO unsupported protocol version"
	ErrOOM       = "OOM command not allowed when used memory > 'maxmemory'."
	ErrExecAbort = "EXECABORT Transaction discarded because of previous errors."
)
