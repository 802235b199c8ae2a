package preset

// services are what applications pay, write and call with.
func services() []Preset {
	return []Preset{
		api("stripe", "Stripe", "https://dashboard.stripe.com/apikeys, a restricted key (rk_) for the resources that are used",
			"api.stripe.com", "{bearer: stripe-key}", Secret{"stripe-key", "sk_test_", list("STRIPE_SECRET_KEY", "STRIPE_API_KEY")}, list("GET", "POST", "DELETE"), list("/v1/**", "/v2/**")).
			using("npm:stripe", "pypi:stripe", "go:github.com/stripe/stripe-go", "gem:stripe", "composer:stripe/stripe-php", "cargo:async-stripe").
			holding(Test{"POST api.stripe.com/v1/payment_intents", "stripe"}, Test{"PUT api.stripe.com/v1/x", "method_not_allowed"}).
			known("stripe-node 22.5, Stripe CLI", "Files go to files.stripe.com, and OAuth to connect.stripe.com: rules of your own."),
		{
			Name: "twilio", Title: "Twilio messages", Key: "https://console.twilio.com, an API key (SK…), restricted to messaging",
			Secrets: []Secret{{"twilio-key-sid", "SK", list("TWILIO_API_KEY")}, {"twilio-key-secret", "", list("TWILIO_API_SECRET", "TWILIO_AUTH_TOKEN")}},
			Rules: []Rule{{
				ID: "twilio", Hosts: list("api.twilio.com"), Methods: list("GET", "POST"),
				Paths:  list("/2010-04-01/Accounts/*/Messages.json", "/2010-04-01/Accounts/*/Messages/**"),
				Attach: "{basic: {user_secret: twilio-key-sid, password: twilio-key-secret}}", Uses: list("twilio-key-sid", "twilio-key-secret"),
			}},
			Tests: []Test{{"POST api.twilio.com/2010-04-01/Accounts/AC0/Messages.json", "twilio"}, {"POST api.twilio.com/2010-04-01/Accounts/AC0/Keys.json", "path_not_allowed"}},
			Uses:  list("npm:twilio", "pypi:twilio", "go:github.com/twilio/twilio-go", "gem:twilio-ruby", "composer:twilio/sdk"),
			Note:  "TWILIO_ACCOUNT_SID stays as it is: it is part of the address, and no secret.",
			Known: "twilio-node 6.0, Twilio CLI",
		},
		api("sendgrid", "SendGrid", "https://app.sendgrid.com/settings/api_keys, restricted: Mail Send",
			"api.sendgrid.com", "{bearer: sendgrid-key}", Secret{"sendgrid-key", "SG.", list("SENDGRID_API_KEY")}, list("POST"), list("/v3/mail/send")).
			using("npm:@sendgrid/mail", "npm:@sendgrid/client", "pypi:sendgrid", "go:github.com/sendgrid/sendgrid-go", "gem:sendgrid-ruby", "composer:sendgrid/sendgrid").
			holding(Test{"POST api.sendgrid.com/v3/mail/send", "sendgrid"}, Test{"POST api.sendgrid.com/v3/api_keys", "path_not_allowed"}).
			known("@sendgrid/client 8.1", "For an account in the EU, change the host: api.eu.sendgrid.com."),
		api("resend", "Resend", "https://resend.com/api-keys, sending access for one domain",
			"api.resend.com", "{bearer: resend-key}", Secret{"resend-key", "re_", list("RESEND_API_KEY")}, list("POST"), list("/emails", "/emails/batch")).
			using("npm:resend", "pypi:resend", "go:github.com/resend/resend-go", "gem:resend").
			holding(Test{"POST api.resend.com/emails", "resend"}, Test{"POST api.resend.com/api-keys", "path_not_allowed"}).
			known("resend-node 6.22", ""),
		api("mailgun", "Mailgun", "https://app.mailgun.com/settings/api_security, a sending key of one domain",
			"api.mailgun.net", "{basic: {user: api, password: mailgun-key}}", Secret{"mailgun-key", "", list("MAILGUN_API_KEY", "MG_API_KEY")}, list("POST"), list("/v3/*/messages", "/v3/*/messages.mime")).
			using("npm:mailgun.js", "go:github.com/mailgun/mailgun-go", "gem:mailgun-ruby", "composer:mailgun/mailgun-php").
			holding(Test{"POST api.mailgun.net/v3/mg.example.com/messages", "mailgun"}, Test{"POST api.mailgun.net/v3/routes", "path_not_allowed"}).
			known("mailgun.js 14.0, mailgun-go", "For a domain in the EU, change the host: api.eu.mailgun.net."),
		api("postmark", "Postmark", "a server token, from the server's API Tokens page",
			"api.postmarkapp.com", "{header: {name: X-Postmark-Server-Token, secret: postmark-token}}", Secret{"postmark-token", "", list("POSTMARK_SERVER_TOKEN", "POSTMARK_API_TOKEN")},
			list("POST"), list("/email", "/email/**")).
			using("npm:postmark", "pypi:postmarker", "gem:postmark", "gem:postmark-rails", "composer:wildbit/postmark-php").
			holding(Test{"POST api.postmarkapp.com/email", "postmark"}, Test{"DELETE api.postmarkapp.com/servers/1", "refused"}).
			stripping("X-Postmark-Account-Token").
			known("postmark.js 4.0; no SDK reads a variable", ""),
		api("slack", "Slack", "https://api.slack.com/apps, a bot token with the scopes that are used",
			"slack.com", "{bearer: slack-token}", Secret{"slack-token", "xoxb-", list("SLACK_BOT_TOKEN", "SLACK_TOKEN", "SLACK_API_TOKEN")}, list("GET", "POST"), list("/api/**")).
			using("npm:@slack/web-api", "npm:@slack/bolt", "pypi:slack-sdk", "pypi:slack-bolt", "go:github.com/slack-go/slack", "gem:slack-ruby-client").
			holding(Test{"POST slack.com/api/chat.postMessage", "slack"}, Test{"POST files.slack.com/upload/v1/x", "slack-upload"}, Test{"GET slack.com/signin", "path_not_allowed"}).
			also(Rule{ID: "slack-upload", Hosts: list("files.slack.com"), Methods: list("POST"), Paths: list("/upload/**"), Attach: "{bearer: slack-token}", Uses: list("slack-token")}).
			known("@slack/web-api 8.0, python-slack-sdk 3.43", "Socket mode needs a rule before this one, for /api/apps.connections.open with the app's token (xapp-), and one for wss-primary.slack.com."),
		api("notion", "Notion", "https://www.notion.so/profile/integrations, with the capabilities that are used",
			"api.notion.com", "{bearer: notion-token}", Secret{"notion-token", "ntn_", list("NOTION_TOKEN", "NOTION_API_KEY")}, list("GET", "POST", "PATCH"), list("/v1/**")).
			using("npm:@notionhq/client", "pypi:notion-client", "go:github.com/jomei/notionapi").
			holding(Test{"POST api.notion.com/v1/pages", "notion"}, Test{"DELETE api.notion.com/v1/blocks/x", "method_not_allowed"}).
			known("@notionhq/client 5.26", ""),
		api("airtable", "Airtable", "https://airtable.com/create/tokens, for one base: data.records:read, and write if it is needed",
			"api.airtable.com", "{bearer: airtable-token}", Secret{"airtable-token", "pat", list("AIRTABLE_API_KEY", "AIRTABLE_TOKEN")}, list("GET", "POST", "PATCH"), list("/v0/**")).
			denying("airtable-no-meta", list("api.airtable.com"), list("/v0/meta/**"), "Bases, tables and their fields are managed elsewhere.").
			using("npm:airtable", "pypi:pyairtable").
			holding(Test{"GET api.airtable.com/v0/app1/Table", "airtable"}, Test{"POST api.airtable.com/v0/meta/bases", "airtable-no-meta"}).
			known("airtable.js 0.12, pyairtable 3.4", "Attachments go to content.airtable.com: a rule of your own."),
		api("cloudflare", "Cloudflare", "https://dash.cloudflare.com/profile/api-tokens, for the zones and rights that are needed",
			"api.cloudflare.com", "{bearer: cloudflare-token}", Secret{"cloudflare-token", "", list("CLOUDFLARE_API_TOKEN", "CF_API_TOKEN")}, nil, list("/client/v4/**")).
			denying("cloudflare-no-tokens", list("api.cloudflare.com"), list("/client/v4/user/tokens", "/client/v4/user/tokens/**", "/client/v4/accounts/*/tokens", "/client/v4/accounts/*/tokens/**"), "Tokens are managed elsewhere.").
			using("npm:cloudflare", "npm:wrangler", "pypi:cloudflare", "go:github.com/cloudflare/cloudflare-go").
			holding(Test{"GET api.cloudflare.com/client/v4/zones", "cloudflare"}, Test{"POST api.cloudflare.com/client/v4/user/tokens", "cloudflare-no-tokens"}).
			stripping("X-Auth-Key", "X-Auth-Email", "X-Auth-User-Service-Key").
			known("cloudflare-python 4.3, wrangler 4.125", "A CLOUDFLARE_API_KEY that is set beside it is removed from calls; unset it."),
		api("vercel", "Vercel", "https://vercel.com/account/settings/tokens, for one team",
			"api.vercel.com", "{bearer: vercel-token}", Secret{"vercel-token", "", list("VERCEL_TOKEN")}, list("GET", "POST", "PATCH"), nil).
			denying("vercel-no-tokens", list("api.vercel.com"), list("/*/user/tokens/**"), "Tokens are managed elsewhere.").
			using("npm:vercel", "npm:@vercel/sdk").
			holding(Test{"GET api.vercel.com/v9/projects", "vercel"}, Test{"DELETE api.vercel.com/v9/projects/x", "method_not_allowed"}, Test{"POST api.vercel.com/v3/user/tokens", "vercel-no-tokens"}).
			known("@vercel/sdk 1.28; the variable is common usage", ""),
	}
}
