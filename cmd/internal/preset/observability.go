package preset

// observability are where events, errors and pages go.
func observability() []Preset {
	return []Preset{
		{
			Name: "datadog", Title: "Datadog", Key: "organization settings: an API key to submit; an application key with scopes, to read",
			Secrets: []Secret{{"datadog-api-key", "", list("DD_API_KEY", "DATADOG_API_KEY")}, {"datadog-app-key", "", list("DD_APP_KEY", "DATADOG_APP_KEY")}},
			Rules: []Rule{
				{
					ID: "datadog-submit", Hosts: list("api.datadoghq.com", "http-intake.logs.datadoghq.com"), Methods: list("POST"),
					Paths:  list("/api/v1/series", "/api/v2/series", "/api/v1/events", "/api/v1/check_run", "/api/v1/distribution_points", "/api/v2/logs", "/v1/input"),
					Strip:  list("DD-APPLICATION-KEY"),
					Attach: "{header: {name: DD-API-KEY, secret: datadog-api-key}}", Uses: list("datadog-api-key"),
				},
				{
					ID: "datadog-read", Hosts: list("api.datadoghq.com"), Methods: list("GET"), Paths: list("/api/**"),
					Attach: "[{header: {name: DD-API-KEY, secret: datadog-api-key}}, {header: {name: DD-APPLICATION-KEY, secret: datadog-app-key}}]",
					Uses:   list("datadog-api-key", "datadog-app-key"),
				},
			},
			Tests: []Test{
				{"POST api.datadoghq.com/api/v2/series", "datadog-submit"}, {"POST http-intake.logs.datadoghq.com/api/v2/logs", "datadog-submit"},
				{"GET api.datadoghq.com/api/v1/monitor", "datadog-read"}, {"POST api.datadoghq.com/api/v1/api_key", "refused"},
			},
			Uses:  list("npm:@datadog/datadog-api-client", "npm:datadog-metrics", "pypi:datadog", "pypi:datadog-api-client", "go:github.com/DataDog/datadog-api-client-go", "gem:dogapi", "gem:datadog_api_client"),
			Note:  "For another site than datadoghq.com, change the hosts: api.datadoghq.eu and so on. datadog-ci submits to further hosts.",
			Known: "datadog-api-client 2.59 for Python, datadogpy 0.53",
		},
		{
			Name: "sentry", Title: "Sentry, API and releases", Key: "https://sentry.io/settings/auth-tokens/, an organization token",
			Secrets: []Secret{{"sentry-token", "", list("SENTRY_AUTH_TOKEN")}},
			Rules: []Rule{
				{ID: "sentry", Hosts: list("sentry.io", "*.sentry.io"), Methods: list("GET"), Paths: list("/api/0/**"), Attach: "{bearer: sentry-token}", Uses: list("sentry-token")},
				{
					ID: "sentry-releases", Hosts: list("sentry.io", "*.sentry.io"), Methods: list("POST", "PUT"),
					Paths: list(
						"/api/0/organizations/*/releases/**", "/api/0/organizations/*/chunk-upload/", "/api/0/organizations/*/artifactbundle/assemble/",
						"/api/0/projects/*/*/releases/**", "/api/0/projects/*/*/files/**",
					),
					Attach: "{bearer: sentry-token}", Uses: list("sentry-token"),
				},
			},
			Tests: []Test{
				{"GET sentry.io/api/0/organizations/", "sentry"}, {"POST sentry.io/api/0/organizations/o/releases/", "sentry-releases"},
				{"POST us.sentry.io/api/0/organizations/o/chunk-upload/", "sentry-releases"}, {"DELETE sentry.io/api/0/projects/o/p/", "refused"},
			},
			Uses:  list("npm:@sentry/cli", "npm:@sentry/webpack-plugin", "npm:@sentry/vite-plugin", "npm:@sentry/nextjs"),
			Note:  "Events go by their DSN, which is no secret: let o….ingest.sentry.io pass with a rule of your own. Set SENTRY_ORG: the placeholder does not tell it.",
			Known: "sentry-cli 3.6",
		},
		api("pagerduty", "PagerDuty", "an API token, read-only where that will do",
			"api.pagerduty.com", `{header: {name: Authorization, secret: pagerduty-token, prefix: "Token token="}}`, Secret{"pagerduty-token", "", list("PAGERDUTY_TOKEN", "PAGERDUTY_API_KEY")}, list("GET"), nil).
			using("npm:@pagerduty/pdjs", "pypi:pdpyras", "pypi:pagerduty", "go:github.com/PagerDuty/go-pagerduty").
			holding(Test{"GET api.pagerduty.com/incidents", "pagerduty"}, Test{"POST api.pagerduty.com/incidents", "method_not_allowed"}).
			known("python-pagerduty 7.0, go-pagerduty; no SDK reads a variable", "Events go by their routing key to events.pagerduty.com: a rule of your own."),
	}
}
