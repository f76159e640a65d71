package client

import (
	"strconv"
	"unsafe"

	"github.com/neargrid/neargrid/protocol"
)

// Reply is what a node answered to one command. It owns its memory; the strings taken from it share that memory, and none of it
// is ever changed.
type Reply struct{ v protocol.Value }

// Kind is the byte that introduces the reply in RESP3: see protocol.Value.
func (r Reply) Kind() byte { return r.v.Kind }

// IsNil tells whether there is no value.
func (r Reply) IsNil() bool { return r.v.Null }

// Err returns the error that the reply is, or nil. Client.Do returns such errors itself; inside an aggregate, such as the
// reply to a transaction, they are found here.
func (r Reply) Err() error {
	if r.v.IsError() {
		e := serverError("", r.v.Str)
		return &ServerError{Node: "?", Code: e.Code, Text: e.Text}
	}
	return nil
}

// Text returns a string, or the text of a number or truth value. The error is ErrNil, a *ServerError or a *TypeError.
func (r Reply) Text() (string, error) {
	switch r.v.Kind {
	case '+', '$', ',', '(':
		if r.v.Null {
			return "", ErrNil
		}
		return shared(r.v.Str), nil
	case '=':
		return shared(r.v.Str[min(len("txt:"), len(r.v.Str)):]), nil
	case ':', '#':
		return strconv.FormatInt(r.v.Int, 10), nil
	}
	return "", r.mismatch("a string")
}

// Int returns an integer, a truth value as 0 or 1, or a string that is an integer.
func (r Reply) Int() (int64, error) {
	switch r.v.Kind {
	case ':', '#':
		return r.v.Int, nil
	case '$', '+':
		if n, ok := protocol.ParseInt(r.v.Str); ok {
			return n, nil
		}
	}
	return 0, r.mismatch("an integer")
}

// Float returns a double, an integer, or a string that is a number.
func (r Reply) Float() (float64, error) {
	switch r.v.Kind {
	case ',':
		return r.v.Float, nil
	case ':':
		return float64(r.v.Int), nil
	case '$', '+':
		if f, ok := protocol.ParseFloat(r.v.Str); ok {
			return f, nil
		}
	}
	return 0, r.mismatch("a number")
}

// Bool returns a truth value, an integer as whether it is not 0, and OK as true.
func (r Reply) Bool() (bool, error) {
	switch r.v.Kind {
	case '#', ':':
		return r.v.Int != 0, nil
	case '+':
		if string(r.v.Str) == "OK" {
			return true, nil
		}
	}
	return false, r.mismatch("a truth value")
}

// Elems returns the members of an array, set or push; of a map, keys and values in turn.
func (r Reply) Elems() ([]Reply, error) {
	if !r.aggregate() {
		return nil, r.mismatch("an array")
	}
	elems := make([]Reply, len(r.v.Elems))
	for i := range elems {
		elems[i] = Reply{r.v.Elems[i]}
	}
	return elems, nil
}

// Strings returns the members of an array or set as texts; what is not there is "".
func (r Reply) Strings() ([]string, error) {
	if !r.aggregate() {
		return nil, r.mismatch("an array")
	}
	texts := make([]string, len(r.v.Elems))
	for i, e := range r.v.Elems {
		text, err := Reply{e}.Text()
		if err != nil && err != ErrNil {
			return nil, err
		}
		texts[i] = text
	}
	return texts, nil
}

// Map returns a map, or an array of keys and values in turn.
func (r Reply) Map() (map[string]string, error) {
	if !r.aggregate() || len(r.v.Elems)%2 != 0 {
		return nil, r.mismatch("a map")
	}
	texts, err := r.Strings()
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(texts)/2)
	for i := 0; i < len(texts); i += 2 {
		m[texts[i]] = texts[i+1]
	}
	return m, nil
}

// Value returns the reply as it was decoded. It is not to be changed.
func (r Reply) Value() protocol.Value { return r.v }

func (r Reply) aggregate() bool {
	switch r.v.Kind {
	case '*', '~', '%', '>':
		return !r.v.Null
	}
	return false
}

// mismatch is the error of a reply that is not what was asked for.
func (r Reply) mismatch(want string) error {
	if r.v.Null {
		return ErrNil
	}
	if err := r.Err(); err != nil {
		return err
	}
	got := r.v.String()
	const shown = 64
	if len(got) > shown {
		got = got[:shown] + "..."
	}
	return &TypeError{Want: want, Got: got}
}

// shared is a string over bytes that nobody changes any more: those of a decoded reply.
func shared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
