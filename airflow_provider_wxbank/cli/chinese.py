# SPDX-License-Identifier: Apache-2.0
"""What the commands say, in Chinese, by the English text, with its fields. The terms are those of the Chinese pages."""

from __future__ import annotations

from airflow_provider_wxbank.cli.chinese_help import HELP

MEASURES = {
    "day": "天",
    "file": "个文件",
    "hour": "小时",
    "is": "个",
    "minute": "分钟",
    "number": "个协议号",
    "record": "条记录",
    "task": "个上传任务",
    "upload task": "个上传任务",
}
"""What follows the number of something, by its English name in the singular."""

HEADINGS = {
    "bank type": "银行类型",
    "began": "开始时间",
    "bytes": "字节",
    "created": "创建时间",
    "error": "错误",
    "exported": "导出时间",
    "failed": "匹配失败",
    "filename": "文件名",
    "files": "文件",
    "kind": "类型",
    "manifest": "清单",
    "matched": "匹配成功",
    "numbers": "协议号",
    "outcome": "结果",
    "package": "号码包",
    "rows": "行数",
    "run": "运行",
    "serial": "序列号",
    "skipped": "跳过的行",
    "state": "状态",
    "status": "状态",
    "task": "上传任务 ID",
    "tasks": "上传任务",
    "use": "用途",
    "users": "匹配用户",
    "valid from": "生效时间",
    "valid until": "失效时间",
    "what": "项目",
    "why": "原因",
    "would be": "内容",
}

TABLES = {
    "{finished:,} finished": "{finished:,} 个已完成",
    "{removed:,} removed": "已删除 {removed:,} 个",
    "{removed:,} would be removed": "将会删除 {removed:,} 个",
    "public key": "微信支付公钥",
    "certificate": "平台证书",
    "encrypts, verifies": "加密、验签",
    "verifies": "验签",
    "verifies, encrypts once valid": "验签，生效后用于加密",
}

PLAN = {
    "connection": "连接",
    "quota": "额度",
    "upload": "上传",
    "processed": "处理完成",
    "{package_id}. {has}": "{package_id}。{has}",
    "{wxbank_conn_id}, merchant {mchid}": "{wxbank_conn_id}，商户号 {mchid}",
    "{files:,}, of which {there} there already, and would be adopted": "{files:,}（已在号码包中、将会沿用：{there}）",
    "{quota:,} files a day, of which {left:,} are left today, as far as this package tells": (
        "每天 {quota:,} 个文件，仅就该号码包而言，今天还剩 {left:,} 个"
    ),
    "less than a minute": "不到 1 分钟",
    "about {text}": "约 {text}",
    "{time}, as a guess": "{time}（估计）",
    "; on {days}, since the quota is {quota:,} files a day": "；分 {days}上传，因为额度为每天 {quota:,} 个文件",
    "nothing to send": "没有需要发送的文件",
    "nothing to send, unless the list was changed after its upload": "没有需要发送的文件，除非名单在上传之后有改动",
    "{time} after the start": "开始后{time}",
    "all of it is with WeChat Pay": "全部文件均已上传到微信支付",
    "about all of it is with WeChat Pay": "几乎全部文件均已上传到微信支付",
}

QUESTION = {
    "Upload {files} with {numbers} of {bank_type} into package {package_id} (merchant {mchid}, connection "
    "{wxbank_conn_id})? {has}. This cannot be undone: numbers can never be taken out of a package again. [y/N] ": (
        "将 {files}、{numbers}（{bank_type}）上传到号码包 {package_id}（商户号 {mchid}，连接 {wxbank_conn_id}）吗？"
        "{has}。此操作无法撤销：协议号一旦进入号码包就无法移出。输入 y 或“是”才会上传 [y/N] "
    ),
    "It has {tasks} now": "该号码包现有 {tasks}",
    "It has no upload task yet": "该号码包还没有上传任务",
    "y": "是",
}

PROGRESS = {
    "Exporting": "正在导出",
    "Reading and checking": "正在读取和检查",
    "Reading imports": "正在读取导入",
    "Reading package {package_id}": "正在读取号码包 {package_id}",
    "Package {task.description}": "号码包 {task.description}",
    "Package {package_id}: {note}": "号码包 {package_id}：{note}",
    "Package {package_id}: uploading {files} with {numbers}": "号码包 {package_id}：正在上传 {files}、{numbers}",
    "{done_files} of {files} files, {done_rows} of {rows} numbers are with WeChat Pay": (
        "微信支付已有 {done_files} / {files} 个文件、{done_rows} / {rows} 个协议号"
    ),
    "{so_far}; it processes what was sent in about {minutes} minutes": "{so_far}；处理已发送的约需 {minutes} 分钟",
    "{so_far}; all of them were there already": "{so_far}；全部此前已在号码包中",
    "{tasks} not finished": "还有 {tasks}未完成",
    "still processing": "仍在处理",
    "no look succeeded": "没有一次轮询成功",
    "Finishing what is under way; Ctrl-C again ends it at once, which is safe": (
        "正在完成已开始的操作；再按一次 Ctrl-C 立即结束，同样是安全的"
    ),
}

ENDS = {
    "{files} uploaded, {adopted:,} adopted (there already)": "已上传 {files}，沿用 {adopted:,} 个（已在号码包中）",
    "Nothing was uploaded: this is what would be": "没有上传任何内容：以上为将会上传的内容",
    "Nothing was removed: this is what would be": "没有删除任何内容：以下为将会删除的内容",
    "No import was found": "没有找到导入",
    "The certificates are not listed: see --download": "没有列出平台证书：见 --download",
    "the certificate that encrypts ends in {days}, and WeChat Pay lists none in force that follows: see the merchant "
    "platform, under API security": (
        "用于加密的平台证书将在 {days}后到期，微信支付尚未列出已生效的后续证书：请查看商户平台的“API安全”"
    ),
    "error: {text}": "错误：{text}",
    "hint: {text}": "提示：{text}",
    "warning: {text}": "警告：{text}",
    "warning: this look failed, the next one may not: {reason}": "警告：这次轮询失败，下一次可能会成功：{reason}",
    "warning: {records} of these imports cannot be read here": "警告：这些导入中有 {records}无法在此读取",
}

HINTS = {
    "-v shows where it happened": "加上 -v 可以看到出错的位置",
    "the command check tells which part of the connection is wrong": "命令 check 会指出连接的哪一部分有误",
    "nothing has to be changed: run the same command again later": "无需改动：请稍后再次运行同一命令",
    "the command check tells whether the platform keys are right": "命令 check 会说明平台公钥是否正确",
    "the same command again goes on waiting": "再次运行同一命令会继续等待",
    "the same command again, with the same list, goes on where this one ended; no file is uploaded twice": (
        "用同一名单再次运行同一命令，会从中断处继续；不会重复上传文件"
    ),
}

ERRORS = {
    "nothing was uploaded: numbers can never be taken out of a package again, so this command asks before it uploads, "
    "and there is no terminal to ask on. Add --yes to upload without a question; --dry-run says what would be "
    "uploaded": (
        "没有上传：协议号一旦进入号码包就无法移出，因此该命令上传之前会询问，而现在没有终端可以询问。"
        "加上 --yes 则不询问直接上传；--dry-run 说明将会上传什么"
    ),
    "nothing was uploaded: the answer was not y": "没有上传：回答不是 y 或“是”",
    "package {package_id} was not finished in {timeout:g} s: {note}": (
        "号码包 {package_id} 在 {timeout:g} 秒内没有完成：{note}"
    ),
    "imports are recorded, and can be listed, from Airflow 3.1 on; this one is older": (
        "自 Airflow 3.1 起才会记录导入、才能列出；当前版本更早"
    ),
    "give either --manifest or --file": "--manifest 和 --file 必须且只能给出一个",
    "give --sql, --sql-file or --source": "请给出 --sql、--sql-file 或 --source",
    "give either --sql or --sql-file, and not both": "--sql 和 --sql-file 只能给出一个",
    "--sql-file cannot be read: {path}: {reason}": "无法读取 --sql-file：{path}：{reason}",
    "it is not UTF-8": "不是 UTF-8",
    "{option} must be a JSON object, for example {example}": "{option} 必须是 JSON 对象，例如 {example}",
    "--prefix goes with --file; the files of a manifest have their names": (
        "--prefix 用于 --file；清单中的文件已有文件名"
    ),
    "--poke-interval and --timeout must be more than 0 seconds": "--poke-interval 和 --timeout 必须大于 0 秒",
    "{text} is not 1 or more": "{text} 不是大于等于 1 的整数",
}

CHINESE = {
    **HELP, **HEADINGS, **TABLES, **PLAN, **QUESTION, **PROGRESS, **ENDS, **HINTS, **ERRORS,
}  # fmt: skip
