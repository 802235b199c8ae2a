package preset

// models are APIs of language models and the like. Their keys are spent by whoever uses them; what manages
// keys, members and bills is left out.
func models() []Preset {
	bearer := func(secret string) string { return "{bearer: " + secret + "}" }
	read := list("GET", "POST")
	return []Preset{
		api("openai", "OpenAI", "https://platform.openai.com/api-keys, restricted to what the application calls",
			"api.openai.com", bearer("openai-key"), Secret{"openai-key", "sk-", list("OPENAI_API_KEY")}, list("GET", "POST", "DELETE"), list("/v1/**")).
			denying("openai-no-admin", list("api.openai.com"), list("/v1/organization/**", "/v1/projects/**"), "Keys, members and bills of the organization are managed elsewhere.").
			using("npm:openai", "npm:@ai-sdk/openai", "npm:@langchain/openai", "pypi:openai", "pypi:langchain-openai", "go:github.com/openai/openai-go", "go:github.com/sashabaranov/go-openai", "gem:ruby-openai", "gem:openai", "composer:openai-php/client", "cargo:async-openai").
			holding(Test{"POST api.openai.com/v1/chat/completions", "openai"}, Test{"GET api.openai.com/v1/organization/users", "openai-no-admin"}, Test{"POST api.openai.com/v1/projects/p/roles", "openai-no-admin"}).
			known("openai-python 3.3", ""),
		api("anthropic", "Anthropic", "https://platform.claude.com/settings/keys, in a workspace with a spend limit",
			"api.anthropic.com", "{header: {name: x-api-key, secret: anthropic-key}}", Secret{"anthropic-key", "sk-ant-", list("ANTHROPIC_API_KEY")}, list("GET", "POST", "DELETE"), list("/v1/**")).
			denying("anthropic-no-admin", list("api.anthropic.com"), list("/v1/organizations/**"), "Keys and members of the organization are managed elsewhere.").
			using("npm:@anthropic-ai/sdk", "npm:@ai-sdk/anthropic", "npm:@langchain/anthropic", "pypi:anthropic", "pypi:langchain-anthropic", "go:github.com/anthropics/anthropic-sdk-go", "gem:anthropic").
			holding(Test{"POST api.anthropic.com/v1/messages", "anthropic"}, Test{"GET api.anthropic.com/v1/organizations/api_keys", "anthropic-no-admin"}).
			known("anthropic-sdk-typescript 0.120", ""),
		api("gemini", "Google Gemini", "https://aistudio.google.com/apikey, restricted to the Generative Language API",
			"generativelanguage.googleapis.com", "{header: {name: x-goog-api-key, secret: gemini-key}}", Secret{"gemini-key", "AIza", list("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY")},
			list("GET", "POST", "PATCH", "DELETE"), list("/v1/**", "/v1beta/**", "/upload/v1beta/**", "/ws/*")).
			using("npm:@google/genai", "npm:@google/generative-ai", "npm:@ai-sdk/google", "pypi:google-genai", "pypi:google-generativeai", "go:google.golang.org/genai").
			holding(Test{"POST generativelanguage.googleapis.com/v1beta/models/gemini:generateContent", "gemini"}, Test{"GET generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "gemini"},
				Test{"GET generativelanguage.googleapis.com/v2/x", "path_not_allowed"}).
			known("python-genai 2.19, @ai-sdk/google", "python-genai warns that two variables are set; both are placeholders."),
		api("mistral", "Mistral", "https://console.mistral.ai/api-keys",
			"api.mistral.ai", bearer("mistral-key"), Secret{"mistral-key", "", list("MISTRAL_API_KEY")}, list("GET", "POST", "DELETE"), list("/v1/**")).
			using("npm:@mistralai/mistralai", "pypi:mistralai", "npm:@ai-sdk/mistral").
			holding(Test{"POST api.mistral.ai/v1/chat/completions", "mistral"}, Test{"PUT api.mistral.ai/v1/models", "method_not_allowed"}).
			known("mistralai 2.5 for Python", "To change agents, libraries or prompts, add PATCH and PUT to the methods."),
		api("cohere", "Cohere", "https://dashboard.cohere.com/api-keys",
			"api.cohere.com", bearer("cohere-key"), Secret{"cohere-key", "", list("CO_API_KEY", "COHERE_API_KEY")}, read, list("/v1/**", "/v2/**")).
			using("npm:cohere-ai", "npm:@ai-sdk/cohere", "pypi:cohere", "go:github.com/cohere-ai/cohere-go").
			holding(Test{"POST api.cohere.com/v2/chat", "cohere"}, Test{"DELETE api.cohere.com/v1/models/x", "method_not_allowed"}).
			known("cohere 7.0 for Python, 8.0 for TypeScript", ""),
		api("groq", "Groq", "https://console.groq.com/keys",
			"api.groq.com", bearer("groq-key"), Secret{"groq-key", "gsk_", list("GROQ_API_KEY")}, read, list("/openai/v1/**")).
			using("npm:groq-sdk", "pypi:groq", "npm:@ai-sdk/groq").
			holding(Test{"POST api.groq.com/openai/v1/chat/completions", "groq"}, Test{"GET api.groq.com/other", "path_not_allowed"}).
			known("groq-python 1.6", "To remove files, add DELETE to the methods."),
		api("openrouter", "OpenRouter", "https://openrouter.ai/settings/keys, with a credit limit",
			"openrouter.ai", bearer("openrouter-key"), Secret{"openrouter-key", "sk-or-", list("OPENROUTER_API_KEY")}, read, list("/api/v1/**")).
			denying("openrouter-no-admin", list("openrouter.ai"), list("/api/v1/keys/**", "/api/v1/byok/**", "/api/v1/workspaces/**", "/api/v1/guardrails/**", "/api/v1/scim/**", "/api/v1/observability/**"), "Keys, members and limits are managed elsewhere.").
			using("npm:@openrouter/ai-sdk-provider", "npm:@openrouter/sdk").
			holding(Test{"POST openrouter.ai/api/v1/chat/completions", "openrouter"}, Test{"POST openrouter.ai/api/v1/keys", "openrouter-no-admin"}).
			known("@openrouter/sdk 1.2", ""),
		api("deepseek", "DeepSeek", "https://platform.deepseek.com/api_keys",
			"api.deepseek.com", bearer("deepseek-key"), Secret{"deepseek-key", "sk-", list("DEEPSEEK_API_KEY")}, read, nil).
			using("npm:@ai-sdk/deepseek").
			holding(Test{"POST api.deepseek.com/chat/completions", "deepseek"}, Test{"DELETE api.deepseek.com/x", "method_not_allowed"}).
			known("@ai-sdk/deepseek, August 2026", ""),
		api("replicate", "Replicate", "https://replicate.com/account/api-tokens",
			"api.replicate.com", bearer("replicate-token"), Secret{"replicate-token", "r8_", list("REPLICATE_API_TOKEN")}, read, list("/v1/**")).
			using("npm:replicate", "pypi:replicate", "go:github.com/replicate/replicate-go").
			holding(Test{"POST api.replicate.com/v1/predictions", "replicate"}, Test{"DELETE api.replicate.com/v1/models/a/b", "method_not_allowed"}, Test{"GET replicate.delivery/x", "replicate-output"}).
			// Output is at addresses that no one guesses; the JavaScript client sends no token there.
			also(Rule{ID: "replicate-output", Hosts: list("replicate.delivery", "*.replicate.delivery", "stream.replicate.com"), Tunnel: true}).
			known("replicate-javascript 1.4, replicate-python 1.0", ""),
		api("elevenlabs", "ElevenLabs", "https://elevenlabs.io/app/settings/api-keys, restricted to the endpoints that are called",
			"api.elevenlabs.io", "{header: {name: xi-api-key, secret: elevenlabs-key}}", Secret{"elevenlabs-key", "sk_", list("ELEVENLABS_API_KEY")}, read, list("/v1/**", "/v2/**")).
			using("npm:@elevenlabs/elevenlabs-js", "npm:elevenlabs", "pypi:elevenlabs").
			holding(Test{"POST api.elevenlabs.io/v1/text-to-speech/x", "elevenlabs"}, Test{"DELETE api.elevenlabs.io/v1/voices/x", "method_not_allowed"}, Test{"POST api.elevenlabs.io/v1/workspace/invites/add", "elevenlabs-no-admin"}).
			denying("elevenlabs-no-admin", list("api.elevenlabs.io"), list("/v1/workspace/**", "/v1/workspaces/**", "/v1/service-accounts/**"), "Keys and members of the workspace are managed elsewhere.").
			known("elevenlabs-python 2.59", "For another region, change the host: api.us.elevenlabs.io and so on."),
		huggingface(), bedrock(),
	}
}

func huggingface() Preset {
	hub := list("/api/**", "/*/resolve/**", "/*/*/resolve/**", "/datasets/*/resolve/**", "/datasets/*/*/resolve/**")
	return Preset{
		Name: "huggingface", Title: "Hugging Face", Key: "https://huggingface.co/settings/tokens, fine-grained: read, and inference if it is used",
		Secrets: []Secret{{"hf-token", "hf_", list("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_API_KEY")}},
		Rules: []Rule{
			{ID: "huggingface", Hosts: list("huggingface.co"), Methods: list("GET"), Paths: hub, Attach: "{bearer: hf-token}", Uses: list("hf-token")},
			{ID: "huggingface-inference", Hosts: list("router.huggingface.co"), Methods: list("GET", "POST"), Attach: "{bearer: hf-token}", Uses: list("hf-token")},
			// Files are answered by redirects to signed addresses, which take no token.
			{ID: "huggingface-files", Hosts: list("cdn-lfs.huggingface.co", "cdn-lfs-us-1.huggingface.co", "**.hf.co"), Tunnel: true},
		},
		Tests: []Test{
			{"GET huggingface.co/api/models/org/model", "huggingface"}, {"GET huggingface.co/org/model/resolve/main/config.json", "huggingface"},
			{"POST huggingface.co/api/repos/create", "method_not_allowed"}, {"POST router.huggingface.co/v1/chat/completions", "huggingface-inference"},
			{"GET cas-bridge.xethub.hf.co/x", "huggingface-files"}, {"GET us.aws.cdn.hf.co/x", "huggingface-files"},
		},
		Uses:  list("npm:@huggingface/inference", "npm:@huggingface/hub", "npm:@ai-sdk/huggingface", "pypi:huggingface-hub", "pypi:transformers", "pypi:datasets", "pypi:diffusers", "pypi:sentence-transformers"),
		Known: "huggingface_hub 1.29, @ai-sdk/huggingface",
		Note:  "A revision with a slash, such as refs/pr/1, is refused: its %2f may mean another path. Name the commit.",
	}
}

func bedrock() Preset {
	return Preset{
		Name: "bedrock", Title: "Amazon Bedrock", Key: "an IAM user or role with bedrock:InvokeModel on the models that are used",
		Vars:    [][2]string{{"aws_region", "us-east-1"}},
		Secrets: []Secret{{"aws-access-key-id", "", list("AWS_ACCESS_KEY_ID")}, {"aws-secret-access-key", "", list("AWS_SECRET_ACCESS_KEY")}},
		Rules: []Rule{{
			ID: "bedrock", Hosts: list("bedrock-runtime.${aws_region}.amazonaws.com"), Methods: list("POST"), // any path: profiles are named in it by ARN, with %2f
			Attach: `{sigv4: {access_key: aws-access-key-id, secret_key: aws-secret-access-key, region: "${aws_region}", service: bedrock, body_limit: 26214400}}`,
			Uses:   list("aws-access-key-id", "aws-secret-access-key"),
		}},
		Tests: []Test{
			{"POST bedrock-runtime.${aws_region}.amazonaws.com/model/m/invoke", "bedrock"},
			{"POST bedrock-runtime.${aws_region}.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A0%3Aapplication-inference-profile%2Fx/converse", "bedrock"},
			{"GET bedrock-runtime.${aws_region}.amazonaws.com/async-invoke", "method_not_allowed"},
		},
		Uses:  list("npm:@aws-sdk/client-bedrock-runtime", "npm:@ai-sdk/amazon-bedrock", "go:github.com/aws/aws-sdk-go-v2/service/bedrockruntime", "cargo:aws-sdk-bedrockruntime", "pypi:langchain-aws"),
		Note:  "The SDK signs with the placeholder; Attaché signs anew. Set ATTACHE_VAR_aws_region for another region, and unset AWS_SESSION_TOKEN and AWS_BEARER_TOKEN_BEDROCK.",
		Known: "@ai-sdk/amazon-bedrock, August 2026",
	}
}
