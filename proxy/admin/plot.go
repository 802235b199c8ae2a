package admin

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// plot is one picture of the last 15 minutes, 300 by 96.
type plot struct {
	Title, Now, Label, Top string
	Lines                  []plotLine
}

// plotLine is one series: the d of an SVG path.
type plotLine struct{ Name, Class, Path string }

// Where in the picture the values are drawn.
const (
	plotWidth  = 300
	plotHeight = 72
	plotTop    = 12.5
)

func plots(t *Traffic) []plot {
	s := &t.Series
	top := niceTop(float64(most(s)) / float64(max(1, s.Step)))
	calls := plot{
		Title: "Calls per second", Now: fmt.Sprintf("%.1f/s", t.PerSecond), Top: number(top) + "/s",
		Label: fmt.Sprintf("Calls per second over 15 minutes: %.1f now; at most %s is shown", t.PerSecond, number(top)),
	}
	under := make([]uint32, len(s.Allowed))
	for _, line := range []struct {
		name, class string
		values      []uint32
	}{{"allowed", "allowed", s.Allowed}, {"refused", "refused", s.Refused}, {"upstream 5xx", "failed", s.Upstream5xx}} {
		calls.Lines = append(calls.Lines, plotLine{line.name, line.class, barsUpTo(line.values, under, plotWidth, plotHeight, plotTop, top*float64(s.Step))})
		for i, v := range line.values {
			under[i] += v
		}
	}
	return []plot{
		calls,
		curves("Upstream, to the first byte", t.UpstreamP99, plotLine{"p99", "p99", ""}, s.UpstreamP99, plotLine{"p50", "p50", ""}, s.UpstreamP50),
		curves("Added by Attaché", t.AddedP99, plotLine{"p99", "added", ""}, s.AddedP99, plotLine{}, nil),
	}
}

// most is the height of the highest column.
func most(s *Series) (n uint32) {
	for i := range s.Allowed {
		n = max(n, s.Allowed[i]+s.Refused[i]+s.Upstream5xx[i])
	}
	return n
}

// curves is a plot of one or two series in milliseconds.
func curves(title string, now float64, first plotLine, a []float64, second plotLine, b []float64) plot {
	top := niceTop(max(slices.Max(append(a, 0)), slices.Max(append(b, 0))))
	p := plot{Title: title, Now: "p99 " + msText(now), Top: msText(top), Label: fmt.Sprintf("%s over 15 minutes: 99 of 100 within %s; at most %s is shown", title, msText(now), msText(top))}
	if now == 0 {
		p.Now, p.Top, p.Label = "no calls", "", title+": no calls in 15 minutes"
	}
	first.Path = curve(a, top)
	p.Lines = []plotLine{first}
	if b != nil {
		second.Path = curve(b, top)
		p.Lines = append(p.Lines, second)
	}
	return p
}

// curve draws values as a line with gaps where there are none. A lone value is a dot.
func curve(values []float64, top float64) string {
	var d strings.Builder
	step, drawing := plotWidth/float64(len(values)), false
	for i, v := range values {
		if v <= 0 {
			drawing = false
			continue
		}
		x, y := (float64(i)+.5)*step, plotTop+plotHeight*(1-v/top)
		if !drawing {
			d.WriteString("M" + coordinate(x) + " " + coordinate(y) + "h0")
		} else {
			d.WriteString("L" + coordinate(x) + " " + coordinate(y))
		}
		drawing = true
	}
	return d.String()
}

// bars draws values as columns that fill width and height.
func bars(values, under []uint32, width, height, y float64) string {
	if len(values) == 0 {
		return ""
	}
	return barsUpTo(values, under, width, height, y, float64(max(1, slices.Max(values))))
}

// barsUpTo draws values as columns upon under, if that is not nil, where top is the full height. What is not zero is
// seen, however small.
func barsUpTo(values, under []uint32, width, height, y, top float64) string {
	var d strings.Builder
	step := width / float64(len(values))
	for i, v := range values {
		if v == 0 {
			continue
		}
		base := 0.0
		if under != nil {
			base = float64(under[i]) / top * height
		}
		tall := max(1, float64(v)/top*height)
		fmt.Fprintf(&d, "M%s %sh%sv-%sh-%sz", coordinate(float64(i)*step), coordinate(y+height-base), coordinate(step-1), coordinate(tall), coordinate(step-1))
	}
	return d.String()
}

// niceTop is a round number that v does not exceed.
func niceTop(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10} {
		if v <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
