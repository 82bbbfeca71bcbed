package poisoning

// class is a set of meanings. A word or phrase has those that matter here,
// whatever its language; rules are about classes, never about words.
type class uint64

const (
	not      class = 1 << iota // denies what follows
	tell                       // to let somebody know
	user                       // the person
	covert                     // silently
	secretN                    // what must not leave: passwords, keys
	read                       // to take from somewhere
	pass                       // to put into a parameter
	send                       // to give to the outside
	data                       // what is worth sending: results, contents
	talk                       // the conversation, or what instructs the model
	param                      // a parameter
	every                      // any, all, whole
	other                      // somebody else's
	tool                       // a tool or what is done with one
	this                       // the tool itself
	before                     // earlier than
	use                        // to call
	must                       // it is an order
	model                      // the one that reads
	ignore                     // to leave out of account
	rules                      // instructions, policies
	prior                      // those that were there already
	bad                        // not to be trusted
	instead                    // in place of
	when                       // on condition that
	fails                      // does not work
	orElse                     // otherwise
	pretext                    // compliance, audit
	consent                    // confirmation, permission
	run                        // to execute
	shell                      // a program of the shell that fetches or destroys
	keep                       // to remember
	later                      // from now on
	heedless                   // regardless of
	payee                      // recipient, account
	change                     // to replace, to set
	off                        // to disable, to skip
	passive                    // is, are: somebody describes
	sample                     // for example
	after                      // once it is done
	protects                   // safeguards
	pretend                    // to say what is not so
	secretP                    // a path that holds secrets
	ruleP                      // a file that instructs agents
	url                        // a web address
	mail                       // a mail address
	phone                      // a telephone number
	wallet                     // an account on a chain or at a bank
	ip                         // a bare IP address
	ident                      // the name of some other tool
	self                       // the name of this tool
	mark                       // markup that poses as a part of the prompt
	work                       // what others do: mails, commits, payments
)

// lexicon is what single words mean. A word that ends in * stands for all that
// begin so.
var lexicon = map[class]string{
	work: `deletions bookings orders invitations emails mails commits commit reads writes transactions payments payment queries query transfers uploads downloads purchases operations`,
	not: `not never no don't dont mustn't shouldn't without nor avoid refrain nobody
		nunca sin jamás ne pas jamais sans nicht kein keine keinen keinem nie niemals ohne não sem nunca non mai senza
		не нельзя никогда без`,
	tell: `unaware question quiet aware tell tells telling mention mentions mentioning inform informs informing notify notifies notifying disclose disclosing disclosed reveal reveals revealing
		alert alerting warn warning say saying recommend announce acknowledge  bother scare notice noticing noticed notices knowing learns
		digas decir decirle dígaselo menciones mencionar informar informes informe informer informez mentionner mentionnez dites dis sag sage sagen erwähne erwähnen informiere
		mitteilen dire dirlo menzionare avvisare informare diga conte mencione сообщай сообщать сообщайте говори говорите упоминай`,
	user: `nobody administrator user users user's human humans person person's people customer customers usuario usuarios utilisateur benutzer benutzern nutzer anwender utente usuário
		пользователю пользователь пользователя пользователем`,
	covert: `silently secretly quietly covertly stealthily discreetly unnoticed invisibly background hidden unobtrusively silencio secreto discrètement heimlich stillschweigend
		тайно скрытно незаметно`,
	secretN: `password passwords passphrase credential credentials secret secrets cookie cookies apikey apikeys token tokens keys contraseña contraseñas clave passwort passwörter zugangsdaten
		identifiants senha senhas пароль пароли ключ ключи`,
	read: `reads returned opening read open load view cat retrieve fetch access collect gather extract obtain grab dump copy peek look scan list select take get harvest inspect
		lee leer lea lisez lis lire lies lese lesen öffne leggi leggere leia ler прочитай прочитать прочти прочитайте`,
	pass: `included give passed routed handed inserted added placed put fed copied passing filled pass passes passing include includes including put append insert attach attached embed supply provide add place drop hand slip write fill populate contain encode give feed carry copies
		pasa pasar incluye incluir transmettez transmettre passez incluez übergib übergebe füge passa passare includi inclua передай передать передайте вставь`,
	send: `reach receive routed send sends sending sent post upload uploaded uploads forward forwarded forwards transmit transmitted exfiltrate relay submit report push pushed mirror share ship stream email emails bcc cc deliver
		envía enviar envíe envie envoyez envoyer sende senden schicke invia inviare enviar отправь отправить отправляй отправьте`,
	data: `returned result results content contents output outputs argument arguments response responses answer answers message messages text copy data information variables history everything names
		contenido contenu inhalt contenuto conteúdo содержимое fichier datei archivo файл`,
	talk:     `conversation chat transcript dialogue dialog prompts cronologia conversación gespräch gesprächs переписку`,
	param:    `parameter parameters param params argument arguments field fields input inputs property slot parámetro campo champ paramètre parametro feld параметр поле`,
	every:    `any every each all whole entire complete full everything anything todas todos todo toute toutes tous alle jede jeden tutte tutti ogni все всю каждый`,
	other:    `other others another competitor competing elsewhere remaining`,
	tool:     `tool tools tool's function functions operation operations server servers server's herramienta outil werkzeug werkzeuge strumento ferramenta инструмент инструмента`,
	this:     `this here este esta cet cette dieses diese diesem questo questa этот этого этом`,
	before:   `before first prior beforehand initially start starting begin antes primero avant d'abord bevor zuerst vor prima prima перед сначала до`,
	use:      `invoked opened use uses using used call calls called calling invoke invoked invoking execute executed executing run running proceed proceeding continue continuing usar utiliser verwenden verwendest benutzen aufrufen usare использованием использовать`,
	must:     `has must always required requires mandatory obliged obligated shall need needs necessary important critical crucial urgent essential imperative compulsory should obligatory ensure sure rule requirement debes debe siempre obligatorio devez doit toujours obligatoire musst muss immer unbedingt devi sempre deve должен должны обязательно всегда`,
	model:    `ai assistant assistants assistant's llm llms model models chatbot claude gpt chatgpt copilot gemini agent agents anthropic openai developers`,
	ignore:   `ignore ignoring disregard disregarding forget override overrides overriding bypass bypassing supersede supersedes overrule neglect suspend suspended lift lifted ignora ignorar ignore ignorez ignoriere vergiss ignori игнорируй игнорируйте забудь obey`,
	rules:    `instruction instructions rule guidelines guideline policy policies directive directives restrictions guardrail guardrails safety constraints orders instrucciones consignes anweisungen istruzioni instruções инструкции указания`,
	prior:    `previous previously earlier prior above preceding existing original original past your so far anteriores previas précédentes vorherigen bisherigen precedenti предыдущие`,
	bad:      `deprecated insecure unsafe broken compromised vulnerable outdated obsolete untrusted malicious dangerous unreliable buggy hacked disabled`,
	instead:  `through instead replace replaces rather prefer preferred route exclusively only`,
	when:     `when whenever if once upon cada chaque wenn falls quando se если когда`,
	fails:    `fail fails failing failure reject rejected rejects refuse refuses refused break breaks blocked block crash crashes error errors violate violates abort aborted corrupted`,
	orElse:   `otherwise else unless sonst sinon contrario altrimenti иначе`,
	pretext:  `compliance audit auditing audited telemetry security logging verification verify regulatory regulation regulations diagnostics analytics quality assurance maintenance caching migrated legal policy tampering integrity`,
	consent:  `wait agreed accept grant confirmation confirmations approval approve approved approving permission permissions consent confirm confirming authorization authorisation dialog prompt prompts ask asking agreed confirmación bestätigung zustimmung confirmation autorización разрешения подтверждения`,
	run:      `run execute launch start eval type invoke exec write ejecuta exécute führe esegui запусти`,
	shell:    `curl wget powershell crontab chmod netcat invoke-webrequest iwr nc bash zsh popen`,
	keep:     `remember memorize memorise store save record repeat persist recuerda souviens merke запомни`,
	later:    `session sessions future henceforth onwards subsequent conversations`,
	heedless: `whichever regardless whatever irrespective although though`,
	payee:    `recipient recipients receiver account accounts address addresses wallet beneficiary payee number amount destination parcel iban destinatario destinataire empfänger`,
	change:   `changed altered modified substituted raised change changes replace replaced set sets fill swap substitute redirect redirected modify alter entered enter switch rewrite make convert transfer`,
	off:      `turned switched disable disabled skip skipping switch accept dismiss suppress deactivate turn auto-approve auto-approval autoapprove yolo`,
	passive:  `is are was were been being be gets`,
	sample:   `example examples e.g eg such like format sample`,
	after:    `after afterwards then finally done ends end trailing`,
	protects: `sandbox guardrail guardrails firewall protection restrictions safeguards safeguard gateway`,
	pretend:  `pretend false falsely claim pretending fake`,
}

// phrases are words that mean something only side by side.
var phrases = map[class]string{
	talk: `conversation history|chat history|previous messages|earlier messages|prior messages|latest messages|last message|system prompt|system message|conversation so far|full conversation|whole conversation|entire conversation
		|all instructions|your instructions|chat transcript|message history|chat log|what it remembers|earlier conversation|prior conversation|chain of thought|your reasoning|list of tools|available tools|historial de la conversación|cronologia della conversazione`,
	secretN:  `card number|social security number|api key|api keys|private key|private keys|ssh key|ssh keys|access token|access tokens|access key|environment variables|env vars|session cookie|any keys|seed phrase|recovery phrase|variables de entorno`,
	not:      `no need|need not|rather than|instead of telling`,
	tell:     `let know|let him know|let them know|make aware|find out|finds out|learn about|learns about|made aware|become aware|know about|ever know|to know|not know|must know|should know`,
	covert:   `keep quiet|say nothing|remains unaware|remain unaware|is unaware|kept from|no one|nobody needs|behind the scenes|under the hood|in the background|without telling|without informing|without mentioning|without notifying|without alerting|without the user|no trace|keep hidden|keep this hidden|keep this secret|keep it secret|keep this confidential|kept secret|keep it hidden|en secreto|en silencio|à l'insu|ohne wissen`,
	must:     `have to|has to|had to|need to|needs to|are to|is to|make sure|be sure|tiene que|hay que|il faut`,
	before:   `prior to|ahead of|before any|start by|begin by`,
	when:     `each time|every time|any time`,
	later:    `from this point on|from now on|rest of the session|rest of this session|every session|each session|all sessions|future sessions|future conversations|long term memory|long-term memory|in future|as of now`,
	heedless: `regardless of|no matter|even if|whatever the user|despite what|irrespective of|even though`,
	instead:  `instead of|in place of|rather than|in all cases|for all requests|for every request`,
	orElse:   `or else|if not|without it|leave it out|failure to|models that skip`,
	pretext:  `quality assurance|terms of service|debugging purposes|security purposes|by order|security check|security department`,
	consent:  `already agreed|in the name of|ask for|asking for|on behalf of|on the user's behalf|false positive`,
	fails:    `not work|not function|no effect|be denied|data loss|not be able|will be lost`,
	pretend:  `false positive|say that it|report as failed|reported as failed|pretend that`,
	sample:   `for example|such as|for instance`,
	change:   `set to`,
	off:      `switch on auto-approval|turn off|switch off|opt out`,
	ignore:   `do not follow|stop following|pay no attention|no longer apply|no longer applies`,
	read:     `look up|look into`,
	this:     `this tool|this function|this one|this operation`,
}

// runs are pieces of scripts that write no spaces between words, and of
// Korean and Arabic, whose words carry their particles with them.
var runs = map[class]string{
	not:      `하지 마|하지마|지 마|말아|않도록|마십시오|마세요|말고|말하지|절대|不要|别|不得|勿|请勿|不可|禁止|しない|ないで|せず|なく|لا |دون |بدون `,
	tell:     `알리|말하|언급|공개하|告诉|告知|提及|透露|通知|说明|言わ|伝え|知らせ|明かさ|تخبر|تذكر|إخبار|إبلاغ`,
	user:     `사용자|이용자|用户|使用者|ユーザ|利用者|المستخدم`,
	covert:   `몰래|조용히|비밀리|은밀|悄悄|秘密地|暗中|偷偷|こっそり|密かに|سرا|خفية`,
	secretN:  `비밀번호|암호|자격 증명|자격증명|비밀 키|개인 키|토큰|密码|密钥|凭证|凭据|令牌|パスワード|秘密鍵|認証情報|トークン|كلمة المرور|كلمات المرور|بيانات الاعتماد|المفتاح`,
	read:     `읽고|읽어|읽은|열어|열고|가져와|수집|读取|讀取|打开|獲取|获取|收集|読み込|読んで|読み取|開い|取得|اقرأ|افتح|اجمع`,
	pass:     `전달|포함|넣어|첨부|추가하|입력하|传递|傳遞|包含|放入|填入|附上|渡し|含め|入力して|追加して|مرر|أدرج|ضع`,
	send:     `전송|보내|업로드|发送|發送|上传|上傳|转发|傳送|提交到|送信|アップロード|転送|送って|أرسل|ارفع`,
	data:     `내용|결과|파일|内容|結果|结果|文件|ファイル|محتواه|محتوى|الملف`,
	talk:     `대화 내용|대화 기록|전체 대화|대화 내역|시스템 프롬프트|이전 메시지|对话历史|對話歷史|聊天记录|对话记录|系统提示|会話履歴|会話全体|システムプロンプト|سجل المحادثة|المحادثة`,
	param:    `매개변수|파라미터|인자|인수|필드|参数|參數|字段|パラメータ|引数|フィールド|المعامل|الحقل`,
	every:    `모든|모두|전체|每个|每次|所有|全部|完整|すべて|全て|毎回|جميع|كل `,
	other:    `다른|其他|其它|别的|他の|ほかの|أخرى|الأخرى`,
	tool:     `도구|툴|工具|ツール|الأداة|أداة|الأدوات`,
	this:     `이 도구|이 함수|이 설명|此工具|该工具|本工具|这个工具|このツール|この説明|هذه الأداة`,
	before:   `전에|먼저|우선|之前|以前|先|前に|まず|最初に|قبل|أولا`,
	use:      `사용하|호출|실행|使用|调用|呼叫|执行|使う|使用する|呼び出|استخدام|استدعاء`,
	must:     `반드시|해야|하십시오|필수|必须|务必|一定要|应当|必ず|なければ|يجب|دائما`,
	model:    `인공지능|어시스턴트|모델|助手|模型|アシスタント|モデル|المساعد|النموذج`,
	ignore:   `무시|忽略|无视|無視|忘记|تجاهل`,
	rules:    `지시|명령|지침|규칙|指令|指示|规则|説明に従|تعليمات|التعليمات|الأوامر`,
	prior:    `이전|기존|앞의|之前的|先前的|以前の|これまでの|上記の|السابقة`,
	when:     `때마다|경우|当|如果|若|とき|場合|إذا|عندما`,
	fails:    `실패|거부|失败|拒绝|失敗|拒否|تفشل`,
	consent:  `확인 없이|동의|승인|허락|确认|同意|许可|確認|承認|許可|موافقة|تأكيد`,
	run:      `실행|运行|执行|実行|شغل|نفذ`,
	heedless: `관계없이|상관없이|无论|不管|に関わらず|بغض النظر`,
	payee:    `수신자|받는 사람|계좌|收件人|收款|账户|受取人|宛先|口座|المستلم`,
	change:   `변경|바꾸|바꿔|更改|改为|替换|変更|置き換|غير`,
}
