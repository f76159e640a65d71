package loadtest

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{"thousands": thousands, "micros": micros}).Parse(pageText))

// HTML writes the report as one page that needs nothing else: no network, no script.
func (r *Report) HTML(w io.Writer) error {
	return page.Execute(w, struct {
		*Report
		Charts []chart
	}{r, r.charts()})
}
