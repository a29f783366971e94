"""Train the compression dictionary of sealed payloads, and measure what it gains.

    python benchmarks/train_dictionary.py train      writes analect/privacy/dictionaries/1.zdict
    python benchmarks/train_dictionary.py measure [dialogues.jsonl.gz]

The samples are made up, with a fixed seed: conversations, tool calls, task and incident analyses in
a dozen languages, in the shapes programs send. Nothing in the dictionary is anyone's. A dictionary
that was shipped never changes; a better one gets the next number.
"""

# ruff: noqa: RUF001  (texts of other scripts are the point)
from __future__ import annotations

import gzip
import json
import random
import sys
import time
from pathlib import Path

import msgspec
import zstandard

SEED = 20250601
SAMPLES = 24_000
SIZE = 48 * 1024
FOLDER = Path(__file__).parent.parent / "analect" / "privacy" / "dictionaries"

OPENERS = {
    "en": [
        "Can you help me with {thing}?",
        "I would like to {act} {thing}.",
        "How do I {act} {thing}?",
        "What is the difference between {thing} and {thing2}?",
        "Please {act} {thing} for me.",
        "I have a question about {thing}.",
        "Could you please explain how {thing} works?",
        "I am trying to {act} {thing}, but it does not work.",
        "Is it possible to {act} {thing}?",
        "Thanks, that is very helpful.",
        "What do you think about {thing}?",
        "Yes, please.",
        "No, thank you. That is all I need.",
        "Find me {thing} near the city centre for two people.",
        "When will {thing} be available?",
        "Tell me more about {thing}.",
        "That sounds good to me.",
        "I want to book {thing} for tomorrow at 7 pm.",
        "How much does it cost?",
        "Write a short summary of {thing}.",
        "Translate the following text into English:",
        "Why did {thing} fail?",
        "Give me an example of {thing} in Python.",
    ],
    "de": [
        "Können Sie mir mit {thing} helfen?",
        "Ich möchte {thing} {act}.",
        "Wie kann ich {thing} {act}?",
        "Was ist der Unterschied zwischen {thing} und {thing2}?",
        "Vielen Dank für die Auskunft.",
        "Ich habe eine Frage zu {thing}.",
        "Bitte fassen Sie den folgenden Text zusammen:",
        "Leider funktioniert {thing} nicht mehr.",
        "Wann ist {thing} wieder verfügbar?",
        "Ist es möglich, {thing} zu {act}?",
        "Das klingt gut, danke.",
    ],
    "fr": [
        "Pouvez-vous m'aider avec {thing} ?",
        "Je voudrais {act} {thing}.",
        "Merci beaucoup pour votre aide.",
        "Quelle est la différence entre {thing} et {thing2} ?",
        "Comment puis-je {act} {thing} ?",
        "J'ai une question au sujet de {thing}.",
        "Est-ce qu'il est possible de {act} {thing} ?",
        "Résumez le texte suivant en quelques phrases :",
        "Malheureusement, {thing} ne fonctionne pas.",
    ],
    "es": [
        "¿Puede ayudarme con {thing}?",
        "Me gustaría {act} {thing}.",
        "Muchas gracias por su ayuda.",
        "¿Cuál es la diferencia entre {thing} y {thing2}?",
        "¿Cómo puedo {act} {thing}?",
        "Tengo una pregunta sobre {thing}.",
        "¿Es posible {act} {thing}?",
        "No funciona {thing} desde ayer.",
        "Por favor, resuma el siguiente texto:",
    ],
    "pt": [
        "Você pode me ajudar com {thing}?",
        "Eu gostaria de {act} {thing}.",
        "Muito obrigado pela ajuda.",
        "Qual é a diferença entre {thing} e {thing2}?",
        "Como posso {act} {thing}?",
        "Tenho uma pergunta sobre {thing}.",
        "Não consigo {act} {thing} desde ontem.",
    ],
    "it": [
        "Può aiutarmi con {thing}?",
        "Vorrei {act} {thing}.",
        "Grazie mille per l'aiuto.",
        "Qual è la differenza tra {thing} e {thing2}?",
        "Come posso {act} {thing}?",
        "Ho una domanda su {thing}.",
        "Purtroppo {thing} non funziona.",
    ],
    "nl": [
        "Kunt u mij helpen met {thing}?",
        "Ik wil graag {thing} {act}.",
        "Hartelijk dank voor uw hulp.",
        "Wat is het verschil tussen {thing} en {thing2}?",
        "Hoe kan ik {thing} {act}?",
    ],
    "ru": [
        "Вы можете помочь мне с {thing}?",
        "Я хочу {act} {thing}.",
        "Большое спасибо за помощь.",
        "В чём разница между {thing} и {thing2}?",
        "Как можно {act} {thing}?",
        "У меня есть вопрос.",
        "К сожалению, это не работает.",
        "Пожалуйста, объясните подробнее.",
    ],
    "zh": [
        "请问你能帮我{act}{thing}吗？",
        "我想{act}{thing}。",
        "非常感谢你的帮助。",
        "我有一个关于{thing}的问题。",
        "{thing}和{thing2}有什么区别？",
        "如何{act}{thing}？",
        "请总结一下以下内容：",
        "这个问题怎么解决？",
    ],
    "ja": [
        "{thing}について教えてください。",
        "{thing}を{act}したいのですが、どうすればいいですか。",
        "ありがとうございます。",
        "{thing}と{thing2}の違いは何ですか。",
        "お手数をおかけしますが、よろしくお願いいたします。",
        "問題が発生しました。",
    ],
    "ko": [
        "{thing}에 대해 설명해 주세요.",
        "{thing}을 {act}하고 싶습니다.",
        "도와주셔서 감사합니다.",
        "{thing}과 {thing2}의 차이점은 무엇인가요?",
        "문제가 발생했습니다. 확인해 주시겠어요?",
    ],
    "ar": [
        "هل يمكنك مساعدتي في {thing}؟",
        "أريد أن {act} {thing}.",
        "شكرا جزيلا على المساعدة.",
        "ما هو الفرق بين {thing} و {thing2}؟",
        "لدي سؤال حول {thing}.",
    ],
    "hi": [
        "क्या आप {thing} में मेरी मदद कर सकते हैं?",
        "मैं {thing} को {act} करना चाहता हूँ।",
        "आपकी मदद के लिए धन्यवाद।",
        "{thing} और {thing2} में क्या अंतर है?",
    ],
}
ANSWERS = {
    "en": [
        "Of course! Here is how you can {act} {thing}:",
        "Sure, I can help you with that.",
        "I'm sorry to hear that you are having trouble with {thing}.",
        "Is there anything else I can help you with?",
        "The main difference between {thing} and {thing2} is that the first one is used to {act} the other.",
        "First, make sure that {thing} is installed and running.",
        "Then, open the settings and select {thing}.",
        "Please confirm the following details:",
        "Your reservation has been made. Have a great day!",
        "However, you should keep in mind that {thing} may take some time.",
        "In summary, there are several options available.",
        "Based on the information you have provided, I would recommend {thing}.",
        "You're welcome! Let me know if you have any other questions.",
        "I don't have access to {thing}, but I can suggest the following steps:",
        "It depends on what you want to {act}.",
        "This is because the request was not completed within the expected time.",
        "For example, you could use {thing} instead of {thing2}.",
        "What time would you like, and for how many people?",
        "What city are you looking for?",
        "I found 3 results that match your search.",
        "The root cause was that {thing} could not be reached from the service after the deployment.",
        "As an AI language model, I cannot do that, but here are some things that you can try.",
        "Which one would you prefer? There is also another option with a rating of 4.5.",
    ],
    "de": [
        "Natürlich helfe ich Ihnen gerne weiter.",
        "Hier ist eine Anleitung, wie Sie {thing} {act} können:",
        "Der wichtigste Unterschied besteht darin, dass {thing} schneller ist als {thing2}.",
        "Bitte stellen Sie sicher, dass {thing} richtig eingerichtet ist.",
        "Gibt es sonst noch etwas, das ich für Sie tun kann?",
        "Zusammenfassend lässt sich sagen, dass es mehrere Möglichkeiten gibt.",
        "Die Ursache des Fehlers war, dass der Dienst nicht erreichbar war.",
    ],
    "fr": [
        "Bien sûr, je peux vous aider.",
        "Voici les étapes à suivre pour {act} {thing} :",
        "N'hésitez pas si vous avez d'autres questions.",
        "La principale différence est que {thing} est plus rapide que {thing2}.",
        "En résumé, il existe plusieurs solutions possibles.",
    ],
    "es": [
        "Por supuesto, con mucho gusto le ayudo.",
        "Estos son los pasos para {act} {thing}:",
        "¿Hay algo más en lo que pueda ayudarle?",
        "La diferencia principal es que {thing} es más rápido que {thing2}.",
        "En resumen, hay varias opciones disponibles para usted.",
    ],
    "pt": [
        "Claro, posso ajudar você com isso.",
        "Aqui estão os passos para {act} {thing}:",
        "Há mais alguma coisa em que eu possa ajudar?",
        "A principal diferença é que {thing} não precisa de {thing2}.",
    ],
    "it": [
        "Certo, posso aiutarla volentieri.",
        "Ecco i passaggi per {act} {thing}:",
        "C'è altro in cui posso esserle utile?",
        "La differenza principale è che {thing} non richiede {thing2}.",
    ],
    "nl": [
        "Natuurlijk, ik help u graag.",
        "Hier zijn de stappen om {thing} te {act}:",
        "Kan ik u verder nog ergens mee helpen?",
    ],
    "ru": [
        "Конечно, я с удовольствием помогу вам.",
        "Вот как можно {act} {thing}:",
        "Если у вас есть другие вопросы, пожалуйста, напишите.",
        "Основное отличие состоит в том, что {thing} работает быстрее.",
        "Таким образом, существует несколько вариантов решения.",
    ],
    "zh": [
        "当然可以，我很乐意帮助你。",
        "以下是{act}{thing}的步骤：",
        "如果您还有其他问题，请随时告诉我。",
        "首先，请确保{thing}已经正确安装。",
        "主要的区别在于{thing}比{thing2}更快。",
        "总的来说，有以下几种解决方案。",
        "根据您提供的信息，我建议您使用{thing}。",
    ],
    "ja": [
        "もちろんです。お手伝いいたします。",
        "{thing}を{act}する手順は以下のとおりです。",
        "他にご質問がございましたら、お気軽にお知らせください。",
        "まず、{thing}が正しく設定されていることを確認してください。",
        "主な違いは、{thing}の方が速いことです。",
    ],
    "ko": [
        "물론입니다. 기꺼이 도와드리겠습니다.",
        "{thing}을 {act}하는 방법은 다음과 같습니다.",
        "다른 질문이 있으시면 언제든지 말씀해 주세요.",
    ],
    "ar": [
        "بالطبع، يسعدني أن أساعدك.",
        "فيما يلي خطوات {act} {thing}:",
        "هل هناك أي شيء آخر يمكنني مساعدتك به؟",
    ],
    "hi": [
        "बिल्कुल, मैं आपकी मदद कर सकता हूँ।",
        "{thing} को {act} करने के लिए निम्नलिखित चरणों का पालन करें:",
        "क्या मैं आपकी और कोई सहायता कर सकता हूँ?",
    ],
}
THINGS = {
    "en": "the database connection|my order|a table at a restaurant|the invoice|the deployment|the configuration file|my account|the password|a flight|the report|customer support|machine learning|the payment|the new version|the user interface|an appointment|the subscription|the error message|a hotel room|the meeting notes|the server|the search results|the weather|the project plan|a movie ticket|the shipping address|the model|the documentation|the monthly budget|the test suite",
    "de": "die Bestellung|das Konto|die Rechnung|den Vertrag|die Anwendung|die Datenbank|den Termin|das Passwort|die Verbindung|die Lieferung|den Bericht|die Versicherung",
    "fr": "la commande|le compte|la facture|le contrat|l'application|la base de données|le rendez-vous|le mot de passe|la livraison|le rapport",
    "es": "el pedido|la cuenta|la factura|el contrato|la aplicación|la base de datos|la cita|la contraseña|el envío|el informe",
    "pt": "o pedido|a conta|a fatura|o contrato|o aplicativo|a base de dados|a senha|a entrega|o relatório",
    "it": "l'ordine|il conto|la fattura|il contratto|l'applicazione|la base di dati|la consegna|il rapporto",
    "nl": "de bestelling|de rekening|de factuur|het contract|de toepassing|de verbinding|het wachtwoord",
    "ru": "заказ|счёт|договор|приложение|база данных|пароль|доставка|отчёт|система",
    "zh": "订单|账户|发票|合同|应用程序|数据库|密码|配置文件|报告|系统|服务器|项目",
    "ja": "注文|アカウント|請求書|契約|アプリケーション|データベース|パスワード|設定ファイル|レポート|システム",
    "ko": "주문|계정|청구서|계약|애플리케이션|데이터베이스|비밀번호|보고서|시스템",
    "ar": "الطلب|الحساب|الفاتورة|التطبيق|قاعدة البيانات|كلمة المرور|التقرير",
    "hi": "ऑर्डर|खाता|बिल|एप्लिकेशन|डेटाबेस|पासवर्ड|रिपोर्ट",
}
ACTS = {
    "en": "cancel|change|create|check|update|find|restore|install|configure|understand|improve|compare|send|schedule|explain|fix",
    "de": "ändern|stornieren|prüfen|erstellen|aktualisieren|wiederherstellen|einrichten|vergleichen",
    "fr": "modifier|annuler|vérifier|créer|mettre à jour|restaurer|configurer",
    "es": "cambiar|cancelar|comprobar|crear|actualizar|restaurar|configurar",
    "pt": "alterar|cancelar|verificar|criar|atualizar|configurar",
    "it": "modificare|annullare|verificare|creare|aggiornare|configurare",
    "nl": "wijzigen|annuleren|controleren|maken|bijwerken",
    "ru": "изменить|отменить|проверить|создать|обновить|настроить",
    "zh": "取消|修改|查询|创建|更新|恢复|安装|配置",
    "ja": "キャンセル|変更|確認|作成|更新|設定",
    "ko": "취소|변경|확인|생성|업데이트|설정",
    "ar": "إلغاء|تغيير|إنشاء|تحديث|التحقق من",
    "hi": "रद्द|अपडेट|बदलने|जाँच",
}
NOUNS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
    "car",
    "city",
    "community",
    "name",
    "president",
    "team",
    "minute",
    "idea",
    "body",
    "information",
    "back",
    "parent",
    "face",
    "level",
    "office",
    "door",
    "health",
    "person",
    "art",
    "war",
    "history",
    "party",
    "result",
    "change",
    "morning",
    "reason",
    "research",
    "moment",
    "air",
    "teacher",
    "force",
    "education",
    "restaurant",
    "hotel",
    "flight",
    "ticket",
    "train",
    "bus",
    "station",
    "airport",
    "reservation",
    "table",
    "seat",
    "price",
    "range",
    "address",
    "phone",
    "number",
    "rating",
    "account",
    "password",
    "email",
    "message",
    "file",
    "folder",
    "document",
    "page",
    "website",
    "link",
    "button",
    "menu",
    "screen",
    "window",
    "application",
    "software",
    "server",
    "database",
    "network",
    "cluster",
    "container",
    "process",
    "memory",
    "disk",
    "request",
    "response",
    "error",
    "warning",
    "log",
    "query",
    "index",
    "table",
    "column",
    "function",
    "class",
    "method",
    "variable",
    "value",
    "list",
    "object",
    "string",
    "integer",
    "array",
    "loop",
    "test",
    "code",
    "module",
    "package",
    "library",
    "version",
    "release",
    "deployment",
    "pipeline",
    "configuration",
    "environment",
    "user",
    "customer",
    "client",
    "agent",
    "order",
    "product",
    "invoice",
    "payment",
    "refund",
    "delivery",
    "shipment",
    "address",
    "support",
    "ticket",
    "contract",
    "policy",
    "insurance",
    "doctor",
    "patient",
    "hospital",
    "medicine",
    "appointment",
    "weather",
    "temperature",
    "rain",
    "movie",
    "music",
    "song",
    "event",
    "concert",
    "museum",
    "park",
    "beach",
    "location",
    "distance",
    "direction",
    "map",
    "street",
]
VERBS = [
    "is",
    "are",
    "was",
    "were",
    "has",
    "have",
    "had",
    "do",
    "does",
    "did",
    "make",
    "made",
    "get",
    "got",
    "give",
    "gave",
    "take",
    "took",
    "come",
    "came",
    "go",
    "went",
    "know",
    "knew",
    "think",
    "thought",
    "see",
    "saw",
    "find",
    "found",
    "want",
    "need",
    "use",
    "used",
    "tell",
    "told",
    "ask",
    "asked",
    "work",
    "worked",
    "seem",
    "feel",
    "felt",
    "try",
    "tried",
    "leave",
    "left",
    "call",
    "called",
    "keep",
    "kept",
    "let",
    "begin",
    "help",
    "helped",
    "show",
    "showed",
    "hear",
    "play",
    "run",
    "move",
    "live",
    "believe",
    "bring",
    "happen",
    "write",
    "provide",
    "sit",
    "stand",
    "lose",
    "pay",
    "meet",
    "include",
    "continue",
    "set",
    "learn",
    "change",
    "lead",
    "understand",
    "watch",
    "follow",
    "stop",
    "create",
    "speak",
    "read",
    "allow",
    "add",
    "spend",
    "grow",
    "open",
    "walk",
    "win",
    "offer",
    "remember",
    "love",
    "consider",
    "appear",
    "buy",
    "wait",
    "serve",
    "send",
    "expect",
    "build",
    "stay",
    "fall",
    "reach",
    "suggest",
    "raise",
    "pass",
    "require",
    "report",
    "decide",
    "return",
    "explain",
    "check",
    "confirm",
    "cancel",
    "book",
    "reserve",
    "search",
    "update",
    "install",
    "configure",
    "restart",
    "deploy",
]
ADJECTIVES = [
    "good",
    "new",
    "first",
    "last",
    "long",
    "great",
    "little",
    "own",
    "other",
    "old",
    "right",
    "big",
    "high",
    "different",
    "small",
    "large",
    "next",
    "early",
    "young",
    "important",
    "few",
    "public",
    "bad",
    "same",
    "able",
    "free",
    "available",
    "possible",
    "similar",
    "specific",
    "common",
    "correct",
    "current",
    "full",
    "clear",
    "easy",
    "hard",
    "simple",
    "certain",
    "recent",
    "local",
    "main",
    "strong",
    "whole",
    "sure",
    "better",
    "best",
    "cheap",
    "expensive",
    "moderate",
    "nearby",
    "popular",
    "several",
    "additional",
    "required",
    "optional",
    "internal",
    "external",
    "failed",
    "successful",
    "slow",
    "fast",
    "missing",
    "invalid",
    "unexpected",
]
GLUE = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "for",
    "on",
    "with",
    "at",
    "by",
    "from",
    "that",
    "this",
    "it",
    "as",
    "be",
    "or",
    "an",
    "not",
    "but",
    "if",
    "they",
    "their",
    "there",
    "which",
    "you",
    "your",
    "we",
    "our",
    "I",
    "my",
    "he",
    "she",
    "his",
    "her",
    "its",
    "can",
    "could",
    "would",
    "will",
    "should",
    "may",
    "might",
    "must",
    "about",
    "into",
    "than",
    "then",
    "when",
    "where",
    "who",
    "what",
    "how",
    "why",
    "all",
    "any",
    "each",
    "more",
    "most",
    "some",
    "such",
    "only",
    "also",
    "just",
    "very",
    "even",
    "still",
    "between",
    "after",
    "before",
    "during",
    "through",
    "over",
    "under",
    "while",
    "because",
    "however",
    "therefore",
    "although",
    "instead",
    "please",
    "thank",
    "thanks",
    "yes",
    "no",
    "okay",
    "sure",
    "sorry",
]
PHRASES = """I would like to|I want to|I need to|I am looking for|Can you please|Could you tell me|Do you have|Is there a|Are there any
What is the|What are the|How many|How much is|How do I|Where can I find|Let me know if|I'm not sure|That's great|That's all I need
Thank you very much|You're welcome|Is there anything else|I can help you with that|Would you like to|Please confirm|I have found
one of the|in order to|as well as|a lot of|such as|in addition to|on the other hand|for example|due to the|according to the
at the same time|in this case|it is important to|make sure that|you can use the|there are several|here are some|the following
located in|at the moment|as soon as possible|in the morning|in the afternoon|in the evening|next week|for two people|for tomorrow
on Monday|on Tuesday|on Wednesday|on Thursday|on Friday|on Saturday|on Sunday|January|February|March|April|May|June|July|August
September|October|November|December|phone number is|the address is|The price is|per night|dollars|half past|o'clock""".replace(
    "\n", "|"
).split("|")
FREQUENT = {
    "de": "der die das und in zu den mit von ist nicht ein eine auf für sich dem des im es auch an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über so zum war haben nur oder aber vor zur bis mehr durch man sein wurde wenn können schon ich mir mein Ihnen bitte danke möchte Zeit Jahr Frage Kunde Fehler System heute morgen",
    "fr": "le la les de des du un une et à en que qui dans pour pas sur avec est ce il elle je vous nous ne au plus par se sont mais ou comme cette tout faire être avoir fait peut aussi bien votre notre même très après avant entre sans merci bonjour question problème système erreur client jour temps",
    "es": "el la los las de del un una y a en que no por con para es se su al lo como más pero sus le ya o este sí porque esta entre cuando muy sin sobre también me hasta hay donde desde todo nos durante uno ni contra otros ese eso mí qué gracias pregunta problema sistema error cliente día tiempo",
    "pt": "o a os as de do da um uma e em que não para com por é se na no mais como mas foi ao ele das tem seu sua ou ser quando muito nos já está eu também só pelo pela até isso ela entre era depois sem mesmo obrigado pergunta problema sistema erro cliente",
    "it": "il la lo gli le di del della un una e a in che non per con è si da come più ma anche al sono dei nel alla questo o se io ha mi ci molto bene quando dove perché grazie domanda problema sistema errore cliente giorno tempo",
    "ru": "и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой о так от как для вы же ты все если или только уже когда можно время очень может спасибо вопрос проблема система ошибка заказ пожалуйста",
    "zh": "的 一 是 在 不 了 有 和 人 这 中 大 为 上 个 国 我 以 要 他 时 来 用 们 生 到 作 地 于 出 就 分 对 成 会 可 主 发 年 动 同 工 也 能 下 过 子 说 产 种 面 而 方 后 多 定 行 学 法 所 民 得 经 问题 系统 错误 客户 服务 数据 请 您 谢谢",
    "ja": "の に は を た が で て と し れ さ ある いる も する から な こと として い や れる など なっ ない この ため その あっ よう また もの という あり まで られ なる へ か だ これ によって により おり より による ます です ました でした ください お願い 問題 システム エラー",
}
LANGUAGES = ["en"] * 12 + [code for code in OPENERS if code != "en"]
CODE = [
    'import json\n\ndef main() -> None:\n    with open("data.json") as file:\n        data = json.load(file)\n    for item in data["items"]:\n        print(item["name"])\n\n\nif __name__ == "__main__":\n    main()\n',
    "SELECT id, name, COUNT(*) AS total FROM orders WHERE created_at >= '2025-01-01' GROUP BY id, name ORDER BY total DESC LIMIT 10;",
    "const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(data) });\nif (!response.ok) {\n  throw new Error(`HTTP ${response.status}`);\n}\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 3\n  template:\n    spec:\n      containers:\n        - name: web\n          image: registry.example.com/web:1.2.3\n",
    'Traceback (most recent call last):\n  File "/app/main.py", line 42, in <module>\n    result = process(request)\n  File "/app/service.py", line 118, in process\n    raise ValueError("invalid response")\nValueError: invalid response\n',
    'pip install --upgrade pip\ndocker compose up -d\nkubectl get pods --namespace production\ngit commit -m "Fix the failing test"\n',
    '{"error": {"code": 500, "message": "Internal server error", "type": "server_error"}, "status": "failed"}',
]
MODELS = [
    "gpt-4o",
    "gpt-4o-mini",
    "claude-sonnet-4",
    "llama-3.3-70b-instruct",
    "mistral-large",
    "gemini-2.0-flash",
]
SYSTEM = [
    "You are a helpful assistant.",
    "You are a helpful customer support agent. Answer briefly and politely.",
    "You are an expert software engineer. Think step by step and explain your reasoning.",
    "Answer the question using only the context below. If the answer is not in the context, say that you do not know.",
]


def sentence(rng: random.Random, stock: dict[str, list[str]], language: str) -> str:
    things, acts = THINGS[language].split("|"), ACTS[language].split("|")
    return rng.choice(stock[language]).format(
        thing=rng.choice(things), thing2=rng.choice(things), act=rng.choice(acts)
    )


def question(rng: random.Random, language: str) -> str:
    return " ".join(sentence(rng, OPENERS, language) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def answer(rng: random.Random, language: str) -> str:
    parts = [sentence(rng, ANSWERS, language) for _ in range(rng.choice([1, 1, 2, 3, 5, 8]))]
    form = rng.random()
    if form < 0.15:
        return parts[0] + "\n\n" + "\n".join(f"{n}. **{p}**" for n, p in enumerate(parts[1:], 1))
    if form < 0.25:
        return parts[0] + "\n\n- " + "\n- ".join(parts)
    if form < 0.35:
        return f"{parts[0]}\n\n```python\n{rng.choice(CODE)}```\n\n{parts[-1]}"
    if form < 0.42:
        return f"## Summary\n\n{' '.join(parts)}\n\n### Next steps\n\n{parts[-1]}"
    return " ".join(parts)


def prose(rng: random.Random, language: str) -> str:
    """Sentences of common words: what they say is nonsense, how they are spelled is not."""
    if language in FREQUENT:
        words = FREQUENT[language].split()
        gap = "" if language in {"zh", "ja"} else " "
        return gap.join(rng.choice(words) for _ in range(rng.randrange(4, 25))) + "."
    sentences = []
    for _ in range(rng.choice([1, 1, 2, 3, 4])):
        words = [rng.choice(PHRASES)] if rng.random() < 0.6 else []
        for _ in range(rng.randrange(2, 8)):
            words += [
                rng.choice(GLUE[:24]),
                rng.choice(rng.choice([NOUNS, NOUNS, ADJECTIVES, GLUE, VERBS])),
            ]
            if rng.random() < 0.3:
                words.append(rng.choice(VERBS))
            if rng.random() < 0.12:
                words.append(rng.choice(PHRASES))
        text = " ".join(words)
        sentences.append(text[0].upper() + text[1:] + rng.choice([".", ".", ".", "?", ",", "!"]))
    return " ".join(sentences)


def plain(rng: random.Random, language: str) -> list:
    texts = [prose(rng, language), prose(rng, language)]
    return [*texts, None, None] if rng.random() < 0.6 else [texts[0], None, None, None]


def token(rng: random.Random, kind: str) -> str:
    return f"<{kind}:{rng.getrandbits(64):016x}>"


def conversation(rng: random.Random, language: str) -> list:
    messages = [{"role": "system", "content": rng.choice(SYSTEM)}]
    for _ in range(rng.choice([1, 1, 2, 3])):
        messages.append({"role": "user", "content": question(rng, language)})
        messages.append({"role": "assistant", "content": answer(rng, language)})
    spent = rng.randrange(50, 2000)
    usage = {
        "prompt_tokens": spent,
        "completion_tokens": spent // 3,
        "total_tokens": spent + spent // 3,
    }
    output = {
        "id": f"chatcmpl-{rng.getrandbits(64):x}",
        "object": "chat.completion",
        "model": rng.choice(MODELS),
        "choices": [{"index": 0, "message": messages[-1], "finish_reason": "stop"}],
        "usage": usage,
    }
    request = {
        "model": rng.choice(MODELS),
        "messages": messages[:-1],
        "temperature": 0.7,
        "max_tokens": 1024,
        "stream": False,
    }
    return [request, output, None, None]


def tool_call(rng: random.Random, language: str) -> list:
    arguments = {
        "query": question(rng, language),
        "limit": rng.randrange(1, 50),
        "language": language,
        "date": "2025-06-30",
    }
    call = {
        "id": f"call_{rng.getrandbits(48):x}",
        "type": "function",
        "function": {"name": "search", "arguments": json.dumps(arguments)},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [
        question(rng, language),
        message,
        {"session": token(rng, "session"), "user": token(rng, "email")},
        {"tool": "search"},
    ]


def incident(rng: random.Random, language: str) -> list:
    facts = {
        "incident_id": f"INC{rng.randrange(10**6):07d}",
        "severity": rng.choice(["low", "medium", "high", "critical"]),
        "status": rng.choice(["open", "resolved", "investigating"]),
        "service": rng.choice(["checkout", "payments", "search", "login"]),
        "description": f"{sentence(rng, ANSWERS, language)} Reported by {token(rng, 'email')} from {token(rng, 'ipv4')}.",
        "created_at": "2025-06-30T12:00:00Z",
        "assigned_to": token(rng, "email"),
        "short_description": sentence(rng, OPENERS, language),
    }
    analysis = {
        "summary": answer(rng, language),
        "root_cause": sentence(rng, ANSWERS, language),
        "confidence": round(rng.random(), 2),
        "recommendations": [sentence(rng, ANSWERS, language) for _ in range(3)],
        "affected_services": ["checkout", "payments"],
        "evidence": rng.choice(CODE),
        "next_steps": [sentence(rng, ANSWERS, language)],
    }
    return [facts, analysis, {"attempt": 1, "timeout": 30, "environment": "production"}, None]


def turn(rng: random.Random, language: str) -> list:
    return [question(rng, language), answer(rng, language), None, None]


def message(rng: random.Random, language: str) -> list:
    return [
        question(rng, language) if rng.random() < 0.5 else answer(rng, language),
        None,
        None,
        None,
    ]


SHAPES = (
    [plain] * 26 + [turn] * 5 + [message] * 3 + [conversation] * 2 + [tool_call, incident, incident]
)


def samples(count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    return [
        msgspec.msgpack.encode(rng.choice(SHAPES)(rng, rng.choice(LANGUAGES))) for _ in range(count)
    ]


def train() -> None:
    dictionary = zstandard.train_dictionary(
        SIZE, samples(SAMPLES, SEED), level=3, split_point=0.75, steps=8
    )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "1.zdict").write_bytes(dictionary.as_bytes())
    print(f"{len(dictionary)} bytes in {FOLDER / '1.zdict'}")


def report(name: str, texts: list[bytes]) -> None:
    dictionary = zstandard.ZstdCompressionDict((FOLDER / "1.zdict").read_bytes())
    dictionary.precompute_compress(level=3)
    with_it = zstandard.ZstdCompressor(dict_data=dictionary, write_dict_id=False)
    without = zstandard.ZstdCompressor(level=3)
    plain = sum(map(len, texts))
    started = time.perf_counter()
    packed = sum(len(with_it.compress(text)) for text in texts)
    micros = (time.perf_counter() - started) / len(texts) * 1e6
    alone = sum(len(without.compress(text)) for text in texts)
    mean = plain // len(texts)
    print(
        f"{name:28} {len(texts):6} of {mean:5} B   zstd {alone / plain:5.2f}   with dictionary {packed / plain:5.2f}   {micros:4.1f} us"
    )


def measure(path: str | None) -> None:
    made = samples(4000, SEED + 1)
    for low, high in ((0, 350), (600, 1500), (1500, 6000)):
        report(f"made up, {low}-{high} B", [text for text in made if low <= len(text) < high])
    if path is None:
        return
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        dialogues = [[turn["text"] for turn in json.loads(line)["turns"]] for line in lines]
    for size in (100, 200, 1024, 4096):
        texts = []
        for number in range(len(dialogues)):
            joined = " ".join(
                dialogues[number] + dialogues[(number + 7) % len(dialogues)] * (size // 1024)
            )
            texts.append(
                msgspec.msgpack.encode([joined[: size // 2], joined[size // 2 : size], None, None])
            )
        report(f"real dialogues, {size} B", texts)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train()
    else:
        measure(sys.argv[2] if len(sys.argv) > 2 else None)
