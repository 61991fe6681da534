# SPDX-License-Identifier: Apache-2.0
"""What ``--help`` says, in Chinese, by the English text: see :mod:`.chinese`."""

from __future__ import annotations

COMMANDS = {
    "Import numbers into WeChat Pay number packages": "将协议号导入微信支付号码包",
    "Export agreement numbers, upload them into a number package of WeChat Pay, and wait.": (
        "导出协议号，上传到微信支付的号码包，并等待处理完成。"
    ),
    "Export agreement numbers into encrypted files and a manifest": "把协议号导出为加密文件和清单",
    "Upload an export, or one file, into a number package, each file once": (
        "把一个导出或一个文件上传到号码包，每个文件只上传一次"
    ),
    "List the upload tasks of a number package": "列出号码包的上传任务",
    "Wait until upload tasks are finished": "等待上传任务完成",
    "List the newest imports of DAGs": "列出 DAG 最近的导入",
    "Verify the receipt of an import": "验证导入的回执",
    "Remove exports that are not needed any more": "清理不再需要的导出",
    "List the platform keys, and until when they are valid": "列出平台公钥及其有效期",
    "Examine the connection, step by step": "逐步检查连接",
    "Run the simulator, a local WeChat Pay that is not for production": (
        "运行模拟器，即本机的微信支付，不可用于生产环境"
    ),
}

EXIT_CODES = {
    "exit codes:": "退出码：",
    "done": "完成",
    "unexpected error, or it cannot run here": "意外错误，或无法在此运行",
    "wrong usage": "用法有误",
    "wrong input": "输入有误",
    "wrong connection": "连接有误",
    "refused by WeChat Pay": "被微信支付拒绝",
    "try again later": "请稍后重试",
    "answer not verified": "应答未通过验签",
    "too many numbers did not match": "匹配失败的协议号过多",
    "timed out": "超时",
    "wrong receipt": "回执有误",
    "not confirmed, nothing was sent": "未经确认，没有发送任何内容",
    "output closed": "输出的读取方已结束",
}

OPTIONS = {
    "connection of type wxbank (default %(default)s)": "类型为 wxbank 的连接（默认 %(default)s）",
    "number package, as the merchant platform shows it, for example 8473295 (required)": (
        "号码包 ID，与商户平台所示相同，例如 8473295（必填）"
    ),
    "first part of the filenames (default {prefix}); another one imports the same numbers anew": (
        "文件名的第一部分（默认 {prefix}）；换用其他前缀会重新导入同样的协议号"
    ),
    "bank and kind of card, for example ICBC_DEBIT (required)": "银行及卡种，例如 ICBC_DEBIT（必填）",
    "folder, or a URL like s3://conn_id@bucket/folder, for the files (required)": (
        "存放文件的目录，或 s3://conn_id@bucket/folder 这样的 URL（必填）"
    ),
    "a query for the numbers, with ORDER BY (required: this, --sql-file or --source)": (
        "查询协议号的 SQL，须有 ORDER BY（必填：此项、--sql-file 或 --source）"
    ),
    "instead of --sql, a file with the query": "代替 --sql：存有查询的文件",
    "connection of the bank's database (required with a query)": "银行数据库的连接（使用查询时必填）",
    'values for :name in the query, as JSON, for example {"city": "Shenzhen"}': (
        '查询中 :name 的值，JSON，例如 {"city": "Shenzhen"}'
    ),
    "instead of a query, text or Parquet files; * matches many": "代替查询：文本或 Parquet 文件；* 可匹配多个",
    "the column with the numbers: its name, its number from 1, or characters such as 1-18": (
        "协议号所在的列：列名、从 1 开始的序号，或 1-18 这样的字符位置"
    ),
    'how text files are laid out, as JSON, for example {"delimiter": "|"}': (
        '文本文件的格式，JSON，例如 {"delimiter": "|"}'
    ),
    "fail unless there are as many rows": "行数与此不符时失败",
    "what a row that is no number does (default %(default)s)": "遇到不是协议号的行时如何处理（默认 %(default)s）",
    "1 to 5500 (default %(default)s)": "1 到 5500（默认 %(default)s）",
    "an export's folder, or the manifest.json in it, as a path or URL (required: this or --file)": (
        "导出的目录，或其中的 manifest.json，路径或 URL（必填：此项或 --file）"
    ),
    "instead of --manifest, a file with one plain number a line": "代替 --manifest：每行一个明文协议号的文件",
    "for --file, for example ICBC_DEBIT (required with --file)": "用于 --file，例如 ICBC_DEBIT（使用 --file 时必填）",
    "the lines of --file are encrypted already": "--file 的各行已经加密",
    "serial of the platform key that encrypted the lines (required with --encrypted)": (
        "加密所用平台公钥的序列号（使用 --encrypted 时必填）"
    ),
    "uploads at a time, 1 to 64 (default %(default)s)": "同时上传的文件数，1 到 64（默认 %(default)s）",
    "only say what would be uploaded, and how long it would take": "只说明将会上传什么、需要多久",
    "do not ask; needed where there is no terminal to ask on": "不再询问；没有终端可以询问时需要",
    "only tasks in this state": "只列出处于该状态的上传任务",
    "only the task of this file": "只列出该文件的上传任务",
    "only these tasks (default: every task of the package)": "只等待这些上传任务（默认为号码包的全部上传任务）",
    "only the tasks of these files": "只等待这些文件的上传任务",
    "seconds between two looks, one call each (default %(default)s)": (
        "两次轮询的间隔秒数，每次调用一次接口（默认 %(default)s）"
    ),
    "seconds after which to give up (default 7 days)": "超过该秒数后放弃（默认 7 天）",
    "fail if more than this share of the numbers did not match, 0 to 1": "匹配失败的协议号超过这一比例时失败，0 到 1",
    "while migrating to the public key, download the certificates, too, which WeChat Pay counts": (
        "更换为微信支付公钥期间，也下载平台证书；微信支付会统计下载"
    ),
    "a number package that should be readable": "应当可以读取的号码包",
    "only imports of this DAG": "只列出该 DAG 的导入",
    "only imports into this number package": "只列出导入该号码包的",
    "only imports in this state: {states}": "只列出处于该状态的导入：{states}",
    "imports at most, 1 or more (default %(default)s)": "最多列出多少个导入，至少为 1（默认 %(default)s）",
    "receipts, as paths or URLs, with or without the # and digits of the sensor's result (required)": (
        "回执的路径或 URL，可以带也可以不带 Sensor 返回值中的 # 及其后的字符（必填）"
    ),
    "ask WeChat Pay whether it says the same today": "同时向微信支付查询其列表是否仍与回执一致",
    "folder, or a URL like s3://conn_id@bucket/folder, in which exports are (required)": (
        "存放导出的目录，或 s3://conn_id@bucket/folder 这样的 URL（必填）"
    ),
    "remove also exports of which no receipt says that they are finished, if they are older, for example 7d": (
        "没有回执说明已完成的导出，超过该时长后也删除，例如 7d"
    ),
    "folder, or a URL, in which receipts are, unless they are with the exports": (
        "存放回执的目录或 URL；与导出放在一起的回执总会读取"
    ),
    "only say what would be removed": "只说明将会删除什么",
}

SIMULATOR = {
    "loopback only (default %(default)s)": "只能是本机回环地址（默认 %(default)s）",
    "listen on all interfaces of a container, whose port is published on loopback outside": (
        "在容器的所有网络接口上监听；其端口在容器外只应发布到本机回环地址"
    ),
    "0 for a free one (default %(default)s)": "0 为任意空闲端口（默认 %(default)s）",
    "where a merchant has WeChat Pay's keys from (default %(default)s)": (
        "商户从哪里得到微信支付的公钥（默认 %(default)s）"
    ),
    "keep a merchant's usual key files in this folder, and use them again at the next start": (
        "把商户通常持有的密钥文件保存在该目录中，下次启动时再次使用"
    ),
    "speak https, also as api.mch.weixin.qq.com, with a CA whose certificate is tls_ca.pem in --keys": (
        "使用 https，也可作为 api.mch.weixin.qq.com；其 CA 证书是 --keys 中的 tls_ca.pem"
    ),
    "repeatable: the packages that there are (default: any)": "可重复：有哪些号码包（默认为任意）",
    "sm2 is national cryptography (default %(default)s)": "sm2 为国密（默认 %(default)s）",
    "until FINISHED (default %(default)s)": "到 FINISHED 为止的秒数（默认 %(default)s）",
    "lines decrypted: all (of long files a sample before the answer, and all beside it), a sample of 20 at upload, or "
    "none before the report (default %(default)s)": (
        "解密哪些行：全部（文件较长时，应答之前只检查样本，同时在后台检查全部）、上传时 20 行样本，"
        "或在查看报告之前不解密（默认 %(default)s）"
    ),
    "files a day (default %(default)s)": "每天的文件数（默认 %(default)s）",
    "seconds added to every answer": "每个应答增加的秒数",
    "default %(default)s": "默认 %(default)s",
    "share of numbers without a user, 0 to 1": "没有对应用户的协议号所占比例，0 到 1",
    "refuse a nonce that came before, which no source says of WeChat Pay": (
        "拒绝重复的 nonce；没有资料说明微信支付会这样做"
    ),
    "serials of platform certificates that begin with a zero": "平台证书的序列号以零开头",
    "print the root certificate with the connection, too": "输出的连接中也包含根证书",
    "write the Airflow connection to this file, too": "把 Airflow 连接也写入该文件",
    "repeatable; for example drop:on=upload,every=3,commit=true": "可重复；例如 drop:on=upload,every=3,commit=true",
}

HELP = {**COMMANDS, **EXIT_CODES, **OPTIONS, **SIMULATOR}
