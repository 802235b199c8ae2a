package main

import "time"

// auditLine is a line of the audit, as the admin API gives it too (docs/audit.md).
type auditLine struct {
	Type      string    `json:"type"`
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	Decision  string    `json:"decision"`
	Reason    string    `json:"reason"`
	Fault     string    `json:"fault"`
	Rule      string    `json:"rule"`
	Owner     string    `json:"owner"`
	Nearest   string    `json:"nearest_rule"`
	DiffersBy string    `json:"differs_by"`
	Caller    struct {
		Name  string `json:"name"`
		ID    string `json:"id"`
		Proof string `json:"proof"`
	} `json:"caller"`
	Listener       string `json:"listener"`
	Method         string `json:"method"`
	Host           string `json:"server.address"`
	Port           int    `json:"server.port"`
	ResolvedIP     string `json:"resolved_ip"`
	Path           string `json:"url.path"`
	Protocol       string `json:"protocol"`
	Status         int    `json:"status"`
	UpstreamStatus int    `json:"upstream_status"`
	Bytes          struct {
		In  int64 `json:"in"`
		Out int64 `json:"out"`
	} `json:"bytes"`
	Phases struct {
		DNS       float64 `json:"dns"`
		Connect   float64 `json:"connect"`
		TLS       float64 `json:"tls"`
		FirstByte float64 `json:"first_byte"`
		Added     float64 `json:"added"`
		Total     float64 `json:"total"`
	} `json:"phase_ms"`
	Reused      bool `json:"reused"`
	Attempts    int  `json:"attempts"`
	Credentials []struct {
		Name       string  `json:"name"`
		Kind       string  `json:"kind"`
		Generation uint64  `json:"generation"`
		Outcome    string  `json:"outcome"`
		Age        float64 `json:"age"`
	} `json:"credentials"`
	ClientCredential bool   `json:"client_credential"`
	Redacted         int    `json:"redacted"`
	ConfigGeneration uint64 `json:"config_generation"`
	Detail           string `json:"detail"`
}

// destination is "POST api.stripe.com:443".
func (l *auditLine) destination() string {
	text := l.Method
	if l.Host != "" {
		text += " " + hostPort(l.Host, l.Port)
	}
	return text + l.Path
}
