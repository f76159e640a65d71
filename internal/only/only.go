// Package only chooses, for programs that try or measure many things, those that a person names by -only.
package only

import (
	"fmt"
	"regexp"
	"strings"
)

// Choose returns those of all whose name matches a regular expression, "" being all. what they are is said in errors: where the expression is none,
// or nothing matches.
func Choose[T any](all []T, name func(T) string, what, pattern string) (chosen []T, err error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	var names []string
	for _, one := range all {
		names = append(names, name(one))
		if re.MatchString(name(one)) {
			chosen = append(chosen, one)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-only %s matches no %s; there are: %s", pattern, what, strings.Join(names, ", "))
	}
	return chosen, nil
}
