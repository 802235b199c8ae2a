package audit

import (
	"strconv"
	"time"
)

// maxString bounds the text of one field, in bytes. Method, host and path come from clients.
const (
	maxString = 256
	maxID     = 2048 // of a SPIFFE ID (SPIFFE-ID §2.3)
	maxDetail = 1024
)

// AppendJSON appends e as one line of JSON, newline included. Field names and their
// meaning are in [Fields]. It allocates only to grow dst.
func AppendJSON(dst []byte, e *Event) []byte {
	b := append(dst, `{"type":"`...)
	b = appendText(b, string(e.Type), maxString)
	b = append(b, `","time":"`...)
	b = appendTime(b, e.Time)
	b = append(b, '"')
	call := e.Type == Request || e.Type == Opened

	b = str(b, `,"request_id":"`, e.RequestID)
	b = str(b, `,"trace_id":"`, e.TraceID)
	b = str(b, `,"decision":"`, string(e.Decision))
	b = str(b, `,"reason":"`, e.Reason)
	b = str(b, `,"fault":"`, e.Fault)
	b = str(b, `,"rule":"`, e.Rule)
	b = str(b, `,"owner":"`, e.Owner)
	b = str(b, `,"nearest_rule":"`, e.NearestRule)
	b = str(b, `,"differs_by":"`, e.DiffersBy)
	b = appendCaller(b, e)
	b = str(b, `,"listener":"`, e.Listener)
	b = str(b, `,"method":"`, e.Method)
	b = str(b, `,"server.address":"`, e.Host)
	b = num(b, `,"server.port":`, int64(e.Port))
	b = str(b, `,"resolved_ip":"`, e.ResolvedIP)
	b = str(b, `,"url.path":"`, e.Path)
	b = str(b, `,"protocol":"`, e.Protocol)
	b = num(b, `,"status":`, int64(e.Status))
	b = num(b, `,"upstream_status":`, int64(e.UpstreamStatus))
	if call {
		b = append(b, `,"bytes":{"in":`...)
		b = strconv.AppendInt(b, e.BytesIn, 10)
		b = append(b, `,"out":`...)
		b = strconv.AppendInt(b, e.BytesOut, 10)
		b = append(b, '}')
	}
	b = appendPhases(b, &e.Phases)
	b = boolean(b, `,"reused":true`, e.Reused)
	b = num(b, `,"attempts":`, int64(e.Attempts))
	b = appendCredentials(b, e.Credentials)
	b = boolean(b, `,"client_credential":true`, e.ClientCredential)
	b = num(b, `,"redacted":`, int64(e.Redacted))
	if e.ConfigGeneration != 0 {
		b = append(b, `,"config_generation":`...)
		b = strconv.AppendUint(b, e.ConfigGeneration, 10)
	}
	b = str(b, `,"secret":"`, e.Secret)
	if e.Version != 0 {
		b = append(b, `,"version":`...)
		b = strconv.AppendUint(b, e.Version, 10)
	}
	if e.Detail != "" {
		b = append(b, `,"detail":"`...)
		b = appendText(b, e.Detail, maxDetail)
		b = append(b, '"')
	}
	return append(b, '}', '\n')
}

// MarshalJSON gives what [AppendJSON] gives, so that the admin API and the log agree.
func (e Event) MarshalJSON() ([]byte, error) {
	b := AppendJSON(nil, &e)
	return b[:len(b)-1], nil
}

// str appends a key, which ends in the opening quote, and its text; nothing for none.
func str(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	b = append(b, key...)
	b = appendText(b, text, maxString)
	return append(b, '"')
}

func num(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	b = append(b, key...)
	return strconv.AppendInt(b, n, 10)
}

func boolean(b []byte, key string, on bool) []byte {
	if !on {
		return b
	}
	return append(b, key...)
}

func appendCaller(b []byte, e *Event) []byte {
	if e.Caller == "" && e.CallerID == "" && e.Proof == "" {
		return b
	}
	b = append(b, `,"caller":{"name":"`...)
	b = appendText(b, e.Caller, maxString)
	b = append(b, '"')
	if e.CallerID != "" {
		b = append(b, `,"id":"`...)
		b = appendText(b, e.CallerID, maxID)
		b = append(b, '"')
	}
	b = str(b, `,"proof":"`, e.Proof)
	return append(b, '}')
}

func appendPhases(b []byte, p *Phases) []byte {
	const key = `,"phase_ms":{`
	start := len(b)
	b = append(b, key...)
	b = millis(b, `"dns":`, p.DNS)
	b = millis(b, `"connect":`, p.Connect)
	b = millis(b, `"tls":`, p.TLS)
	b = millis(b, `"first_byte":`, p.FirstByte)
	b = millis(b, `"added":`, p.Added)
	b = millis(b, `"total":`, p.Total)
	if len(b) == start+len(key) {
		return b[:start]
	}
	b[len(b)-1] = '}' // the last comma
	return b
}

// millis appends a key, a duration in milliseconds with three decimals, and a comma.
func millis(b []byte, key string, d time.Duration) []byte {
	if d <= 0 {
		return b
	}
	b = append(b, key...)
	b = decimals(b, d.Microseconds())
	return append(b, ',')
}

// decimals appends thousandths as a number with three decimals.
func decimals(b []byte, n int64) []byte {
	b = strconv.AppendInt(b, n/1000, 10)
	n %= 1000
	return append(b, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

func appendCredentials(b []byte, cs []Credential) []byte {
	if len(cs) == 0 {
		return b
	}
	b = append(b, `,"credentials":[`...)
	for i := range cs {
		c := &cs[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":"`...)
		b = appendText(b, c.Name, maxString)
		b = append(b, '"')
		b = str(b, `,"kind":"`, c.Kind)
		if c.Generation != 0 {
			b = append(b, `,"generation":`...)
			b = strconv.AppendUint(b, c.Generation, 10)
		}
		b = str(b, `,"outcome":"`, c.Outcome)
		if c.Age > 0 {
			b = append(b, `,"age":`...)
			b = decimals(b, c.Age.Milliseconds())
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendTime appends t in RFC 3339, UTC, with milliseconds. It is time.AppendFormat at a third of its cost.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		year = 0 // RFC 3339 §1: four digits
	}
	hour, minute, sec := t.Clock()
	ms := t.Nanosecond() / int(time.Millisecond)
	b = two(two(b, year/100), year%100)
	b = two(append(b, '-'), int(month))
	b = two(append(b, '-'), day)
	b = two(append(b, 'T'), hour)
	b = two(append(b, ':'), minute)
	b = two(append(b, ':'), sec)
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

func two(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
