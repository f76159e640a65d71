package server

// KeySpec says where some of a command's keys stand, as Redis's key specifications do: where the search begins, and how
// keys are found from there.
type KeySpec struct {
	Flags KeyFlag
	// The search begins at argument Index; or, where Keyword is set, behind the first argument equal to it, looked for
	// from argument From on (from the end where it is negative).
	// Unknown: only the command itself can tell (SORT's BY, GET and STORE).
	Unknown bool
	Index   int
	Keyword string
	From    int
	// Keys run from there to Last (relative; negative counts from the end of the line), every Step; a Limit above 1
	// stops after that fraction of the line. Or, where NumKeys is set, their count stands there and they follow it.
	Last, Step, Limit int
	NumKeys           *NumKeys
}

// NumKeys finds keys through their count: it stands KeyNum arguments after the beginning, the keys from First on.
type NumKeys struct{ KeyNum, First, Step int }

// KeyFlag is what a command does with a key, named as COMMAND INFO prints them.
type KeyFlag uint16

const (
	RO KeyFlag = 1 << iota
	RW
	OW
	RM
	Access
	Update
	Insert
	Delete
	NotKey
	Incomplete
	VariableFlags
)

// keyFlagNames gives each flag's name, in bit order.
var keyFlagNames = [...]string{
	"RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags",
}

// keys is the spec of keys at first, first+step ... up to last, counted like Redis's first key, last key and step.
func keys(first, last, step int, flags KeyFlag) []KeySpec {
	if last >= 0 {
		last -= first
	}
	return []KeySpec{{Flags: flags, Index: first, Last: last, Step: step}}
}

// keyAt is the spec of one key.
func keyAt(index int, flags KeyFlag) KeySpec { return KeySpec{Flags: flags, Index: index, Step: 1} }

// keysFrom is the spec of keys from an argument to the end of the line.
func keysFrom(index int, flags KeyFlag) KeySpec {
	return KeySpec{Flags: flags, Index: index, Last: -1, Step: 1}
}

// keysCounted is the spec of keys whose count stands at index, right before them.
func keysCounted(index int, flags KeyFlag) KeySpec {
	return KeySpec{Flags: flags, Index: index, NumKeys: &NumKeys{KeyNum: 0, First: 1, Step: 1}}
}

// keysUnknown is the spec of keys that only the command itself can find.
func keysUnknown(flags KeyFlag) KeySpec { return KeySpec{Flags: flags, Unknown: true} }
