package protocol

// AppendValue appends a reply as it was when it was decoded, without its attributes.
func AppendValue(b []byte, v Value) []byte {
	switch {
	case v.Null && v.Kind == '_':
		return append(b, "_\r\n"...)
	case v.Null:
		return append(append(b, v.Kind), "-1\r\n"...)
	case v.Kind == ':':
		return appendLine(b, v.Kind, v.Int)
	case v.Kind == '#' && v.Int != 0:
		return append(b, "#t\r\n"...)
	case v.Kind == '#':
		return append(b, "#f\r\n"...)
	case v.Kind == '$' || v.Kind == '=' || v.Kind == '!':
		b = appendLine(b, v.Kind, int64(len(v.Str)))
		return append(append(b, v.Str...), '\r', '\n')
	case v.Kind == '*' || v.Kind == '~' || v.Kind == '>':
		b = appendLine(b, v.Kind, int64(len(v.Elems)))
	case v.Kind == '%':
		b = appendLine(b, v.Kind, int64(len(v.Elems)/2))
	default: // a line: simple string, double, big number, error
		return append(append(append(b, v.Kind), v.Str...), '\r', '\n')
	}
	for _, e := range v.Elems {
		b = AppendValue(b, e)
	}
	return b
}

// AppendValue2 appends a RESP3 reply as RESP2 has it: maps and sets as arrays, doubles and big numbers as strings, null as a null
// string. That is what a server would say in RESP2 only where the reply has the same shape in both, and no null arrays.
func AppendValue2(b []byte, v Value) []byte {
	switch {
	case v.Null && v.Kind != '*':
		return append(b, "$-1\r\n"...)
	case v.Kind == '#':
		return appendLine(b, ':', v.Int)
	case v.Kind == ',' || v.Kind == '(':
		return AppendValue(b, Value{Kind: '$', Str: v.Str})
	case v.Kind == '=':
		return AppendValue(b, Value{Kind: '$', Str: v.Str[min(len("txt:"), len(v.Str)):]})
	case v.Kind == '!':
		return AppendValue(b, Value{Kind: '-', Str: v.Str})
	case v.Null || v.Kind != '*' && v.Kind != '~' && v.Kind != '%' && v.Kind != '>':
		return AppendValue(b, v)
	}
	b = appendLine(b, '*', int64(len(v.Elems)))
	for _, e := range v.Elems {
		b = AppendValue2(b, e)
	}
	return b
}
