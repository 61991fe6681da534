// SPDX-License-Identifier: Apache-2.0
// The page's words in English and Chinese, and how numbers and times are written.

const ENGLISH = {
  title: "WeChat Pay packages",
  package: (id) => `Package ${id}`,
  noPackage: "Package not known",
  packageLater: "Package told by the upload",
  files: "Files",
  numbers: "Numbers",
  exporting: "Exporting",
  exported: "Exported",
  uploading: "Uploading",
  uploaded: "Uploaded",
  processing: "Processing",
  finished: "Finished",
  failed: "Failed",
  skipped: "Skipped",
  retrying: (state) => `${state} (will retry)`,
  ofProcessed: (done, all) => `${done} of ${all} processed`,
  aboutProcessed: (done, all) => `about ${done} of ${all} processed`,
  ofUploaded: (done, all) => `${done} of ${all} uploaded`,
  uploadedSoFar: (done) => `${done} uploaded`,
  notKnown: "not known",
  exportedCount: (all) => `${all} exported`,
  matchedOf: (done, all) => `${done} of ${all} matched`,
  matched: "Matched",
  notMatched: "Not matched",
  users: "Users",
  matchRate: "Match rate",
  matchRates: (count) => `Match rate of ${count === 1 ? "1 import" : `${count} imports`}, oldest first`,
  rateOf: (when, rate) => `${when}: ${rate}`,
  begun: "Begun",
  ended: "Finished",
  expected: "Expected",
  late: "later than expected",
  expectedHint: "By WeChat Pay's guide, or by the speed of this import; a guide, not a promise.",
  skippedRows: "Rows left out",
  bankType: "Bank type",
  keyMistake: (count) =>
    `${count === 1 ? "In 1 file" : `In ${count} files`} not one number matched: most likely a wrong key or bank type.`,
  noMatch: "No match",
  noMatchHint: "Not one number matched: most likely the key or the bank type is wrong.",
  empty: "No import yet. Imports show here once ExportUsersOperator or UploadTaskOperator has begun in a DAG that you may see.",
  emptyRun: "This DAG run has no import yet.",
  older: "Show older imports",
  back: "All imports",
  openRun: "Open the DAG run",
  wholePackage: "All of the package",
  look: "Packages filled elsewhere",
  lookHint: "Read from WeChat Pay's list of upload tasks, with a connection that you may read.",
  connection: "Connection",
  packageId: "Package id",
  show: "Show",
  asked: (at, next) => `Asked at ${at}; asked again at ${next} at the earliest.`,
  asking: "WeChat Pay is being asked …",
  askedLater: "Much is being asked with this connection already; this package is asked for later.",
  notAnswered: "No answer: ",
  knownBefore: (at) => `What follows was known at ${at}.`,
  unreadable: (count) =>
    `${count === 1 ? "1 record" : `${count} records`} could not be read here: kept outside Airflow's database, or no record of an import. What is not known is not shown.`,
  stillProcessing: (count) => `${count} processing by now; their states below are read anew when all are finished.`,
  search: "Search files",
  searchHint: "file or task id",
  state: "State",
  all: "All",
  file: "File",
  taskId: "Task id",
  rows: "Rows",
  uploadedAt: "Uploaded",
  finishedAt: "Finished",
  shown: (count, all) => `${count === all ? all : `${count} of ${all}`} ${all === "1" ? "file" : "files"}`,
  more: (count) => `Show ${count} more`,
  countsLater: "Each file's state and counts are shown once WeChat Pay has finished them all.",
  noFiles: "No files are recorded yet.",
  noSuchFiles: "No file is like that.",
  refreshed: (at) => `Updated ${at}`,
  loading: "Loading …",
  signedOut: "Your session has ended. Reload Airflow and sign in.",
  notAllowed: "You may not see this.",
  gone: "This DAG run does not exist, or you may not see it.",
  unreachable: "Airflow does not answer. Trying again.",
  invalid: "Nothing has such an id or such a time. A package id is 4 to 16 letters or digits.",
  steps: {
    export: { todo: "Export", busy: "Exporting", done: "Exported", failed: "Export failed", skipped: "Export skipped" },
    upload: { todo: "Upload", busy: "Uploading", done: "Uploaded", failed: "Upload failed", skipped: "Upload skipped" },
    wait: { todo: "Process", busy: "Processing", done: "Processed", failed: "Wait failed", skipped: "Wait skipped" },
  },
  unmatched: (share) => `Finished, ${share} did not match`,
  unaccounted: (count) => `Finished, ${count} numbers not accounted for`,
  unaccountedHint: (count) => `What WeChat Pay counted differs by ${count} from the numbers that were sent. The log of the wait names the files.`,
  notAccounted: "Not accounted for",
  notUploaded: "Not uploaded",
  stalled: (since) => `No progress seen since ${since}.`,
  numbersAnHour: "Numbers an hour",
  numbersAnHourHint: "Processed by WeChat Pay, from the first upload to when it was seen last.",
  duration: "Duration",
  durations: (count) => `Duration of ${count === 1 ? "1 import" : `${count} imports`}, oldest first`,
  underMinute: "< 1 min",
  minutes: (count) => `${count} min`,
  hours: (hours, minutes) => `${hours} h ${minutes} min`,
  by: (user) => `by ${user}`,
  triggeredBy: "Triggered by",
  triggers: { timetable: "schedule", asset: "an asset", backfill: "a backfill", cli: "the command line", rest_api: "the REST API", ui: "Airflow's page", operator: "another DAG", test: "a test" },
  tries: "Tries",
  tryOf: (count, all) => `try ${count} of ${all}`,
  lastTry: (count) => `try ${count}; not tried again by itself`,
  refresh: "Refresh",
  whyFailed: "Why it failed",
  moreFailed: (count) => `${count === 1 ? "1 more task" : `${count} more tasks`} failed.`,
  openLog: "Log",
  again: "Retry or clear",
  againHint: "The task in Airflow; the button there clears it, and it runs again",
  errorsPage: "About errors",
  docsFolder: "",
  retriesItself: "Airflow runs it again by itself.",
  causes: {
    ended: "The task ended without saying why: it was killed, marked as failed, or its worker was lost. Its log says more. Run again, it goes on where it ended; no file is uploaded twice.",
    not_begun: "The task failed before it had begun: a template, a module, or the worker itself. Its log says more.",
    upstream: "A task before it failed: see the DAG run.",
  },
  remedies: {
    InvalidInput: "Correct what the message names, then clear the task.",
    InvalidCredentials: "Correct the connection, then clear the task.",
    Refused: "Correct what WeChat Pay names, or ask WeChat Pay with the Request-ID; then clear the task.",
    TryLater: "Nothing has to be changed: clear the task later, it goes on where it ended.",
    QuotaReached: "Clear the task after midnight, Asia/Shanghai: it uploads the rest.",
    WaitFailed: "See below which files did not match, or correct what the message names.",
    UnverifiedAnswer: "Clear the task. If it fails again, find out what alters WeChat Pay's answers.",
    Timeout: "Its time was over. Clear the task and it goes on; no file is uploaded twice.",
    Other: "The task's log says more.",
  },
  sentToday: (files, quota, conn) => `About ${quota === null ? files : `${files} of ${quota}`} files were sent today (Asia/Shanghai)${conn ? `, with ${conn}` : ""}.`,
  imports: "Imports",
  states: {
    failed: "Failed", unaccounted: "Finished, counts differ", unmatched: "Finished, many not matched", exporting: "Exporting", exported: "Exported",
    uploading: "Uploading", uploaded: "Uploaded", processing: "Processing", finished: "Finished", skipped: "Skipped",
  },
  searchImports: "Search imports",
  searchImportsHint: "DAG, run, package, user",
  dag: "DAG",
  from: "Begun from",
  to: "to",
  order: "Order",
  orders: { package: "By package", newest: "Newest first", oldest: "Oldest first", state: "By state, failed first", rate: "Lowest match rate first", numbers: "Most numbers first" },
  reset: "Reset",
  noSuchImports: "No import is like that.",
  noNumbers: "Imports cannot be searched for an agreement number: none is kept here, and it would be in logs.",
  stateCount: (count, state) => `${count} ${state.toLowerCase()}`,
  summary: (text, count, packages, states, numbers, rate) =>
    `${count === 1 ? "1 import" : `${text} imports`}${packages > 1 ? ` into ${packages} packages` : ""}${states.length ? `: ${states.join("; ")}` : ""} · ${numbers === "1" ? "1 number" : `${numbers} numbers`}${rate === null ? "" : `, ${rate} matched`}`,
  download: "Download what is shown",
  downloadAs: (kind) => `Download what is shown as ${kind}`,
};

const CHINESE = {
  title: "微信支付号码包",
  package: (id) => `号码包 ${id}`,
  noPackage: "号码包未知",
  packageLater: "号码包待定（上传开始后显示）",
  files: "文件",
  numbers: "协议号",
  exporting: "导出中",
  exported: "已导出",
  uploading: "上传中",
  uploaded: "已上传",
  processing: "处理中",
  finished: "已完成",
  failed: "失败",
  skipped: "已跳过",
  retrying: (state) => `${state}（等待重试）`,
  ofProcessed: (done, all) => `已处理 ${done} / ${all}`,
  aboutProcessed: (done, all) => `约已处理 ${done} / ${all}`,
  ofUploaded: (done, all) => `已上传 ${done} / ${all}`,
  uploadedSoFar: (done) => `已上传 ${done}`,
  notKnown: "未知",
  exportedCount: (all) => `已导出 ${all}`,
  matchedOf: (done, all) => `匹配成功 ${done} / ${all}`,
  matched: "匹配成功",
  notMatched: "匹配失败",
  users: "匹配用户",
  matchRate: "匹配率",
  matchRates: (count) => `${count} 次导入的匹配率（从旧到新）`,
  rateOf: (when, rate) => `${when}：${rate}`,
  begun: "开始",
  ended: "完成",
  expected: "预计完成",
  late: "晚于预计",
  expectedHint: "按微信支付的处理速度说明或本次导入的实际速度估算，仅供参考。",
  skippedRows: "跳过的行",
  bankType: "银行类型",
  keyMistake: (count) => `${count} 个文件中没有一个协议号匹配成功：很可能是密钥或银行类型有误。`,
  noMatch: "全部匹配失败",
  noMatchHint: "没有一个协议号匹配成功：很可能是密钥或银行类型有误。",
  empty: "还没有导入。您可查看的 DAG 中的 ExportUsersOperator 或 UploadTaskOperator 开始运行后，导入会显示在这里。",
  emptyRun: "此 DAG 运行还没有导入。",
  older: "显示更早的导入",
  back: "全部导入",
  openRun: "打开 DAG 运行",
  wholePackage: "整个号码包",
  look: "其他方式上传的号码包",
  lookHint: "使用您可查看的连接，读取微信支付的上传任务列表。",
  connection: "连接",
  packageId: "号码包 ID",
  show: "查看",
  asked: (at, next) => `${at} 查询过，最早 ${next} 再次查询。`,
  asking: "正在查询微信支付…",
  askedLater: "此连接的查询已较多，稍后再查询该号码包。",
  notAnswered: "没有得到结果：",
  knownBefore: (at) => `以下为 ${at} 时的情况。`,
  unreadable: (count) => `${count} 条记录无法在此读取：保存在 Airflow 数据库之外，或不是导入的记录。未知的内容不显示。`,
  stillProcessing: (count) => `目前 ${count} 个处理中；全部完成后将重新读取下列状态。`,
  search: "搜索文件",
  searchHint: "文件名或上传任务 ID",
  state: "状态",
  all: "全部",
  file: "文件",
  taskId: "上传任务 ID",
  rows: "行数",
  uploadedAt: "上传时间",
  finishedAt: "完成时间",
  shown: (count, all) => (count === all ? `${all} 个文件` : `${count} / ${all} 个文件`),
  more: (count) => `再显示 ${count} 个`,
  countsLater: "全部文件处理完成后，显示每个文件的状态和统计结果。",
  noFiles: "还没有文件记录。",
  noSuchFiles: "没有符合条件的文件。",
  refreshed: (at) => `更新于 ${at}`,
  loading: "加载中…",
  signedOut: "会话已结束，请重新加载 Airflow 并登录。",
  notAllowed: "您无权查看此内容。",
  gone: "此 DAG 运行不存在，或您无权查看。",
  unreachable: "Airflow 没有响应，正在重试。",
  invalid: "没有这样的 ID 或时间。号码包 ID 由 4 至 16 位字母或数字组成。",
  steps: {
    export: { todo: "导出", busy: "导出中", done: "已导出", failed: "导出失败", skipped: "跳过导出" },
    upload: { todo: "上传", busy: "上传中", done: "已上传", failed: "上传失败", skipped: "跳过上传" },
    wait: { todo: "处理", busy: "处理中", done: "已处理", failed: "等待失败", skipped: "跳过等待" },
  },
  unmatched: (share) => `已完成，${share} 匹配失败`,
  unaccounted: (count) => `已完成，${count} 个协议号数目不符`,
  unaccountedHint: (count) => `微信支付的计数与上传的协议号相差 ${count} 个，等待任务的日志列出了相关文件。`,
  notAccounted: "数目不符",
  notUploaded: "未上传",
  stalled: (since) => `自 ${since} 起没有进展。`,
  numbersAnHour: "每小时协议号数",
  numbersAnHourHint: "微信支付的处理速度：从首次上传到最近一次查询。",
  duration: "用时",
  durations: (count) => `${count} 次导入的用时（从旧到新）`,
  underMinute: "不到 1 分钟",
  minutes: (count) => `${count} 分钟`,
  hours: (hours, minutes) => `${hours} 小时 ${minutes} 分`,
  by: (user) => `由 ${user} 触发`,
  triggeredBy: "触发者",
  triggers: { timetable: "定时调度", asset: "资产", backfill: "回填", cli: "命令行", rest_api: "REST API", ui: "Airflow 页面", operator: "其他 DAG", test: "测试" },
  tries: "尝试次数",
  tryOf: (count, all) => `第 ${count} 次尝试，共 ${all} 次`,
  lastTry: (count) => `第 ${count} 次尝试，不会自动重试`,
  refresh: "刷新",
  whyFailed: "失败原因",
  moreFailed: (count) => `另有 ${count} 个任务失败。`,
  openLog: "日志",
  again: "重试或清除",
  againHint: "打开 Airflow 中的任务，清除后会重新运行",
  errorsPage: "错误说明",
  docsFolder: "zh/",
  retriesItself: "Airflow 会自动重试。",
  causes: {
    ended: "任务结束时没有说明原因：被终止、被标记为失败，或其 worker 失联。详见任务日志。重新运行会从中断处继续，不会重复上传文件。",
    not_begun: "任务尚未开始就已失败：模板、模块或 worker 本身有问题。详见任务日志。",
    upstream: "前面的任务失败，请查看 DAG 运行。",
  },
  remedies: {
    InvalidInput: "请改正信息中指出的问题，然后清除该任务。",
    InvalidCredentials: "请改正连接，然后清除该任务。",
    Refused: "请改正微信支付指出的问题，或凭 Request-ID 联系微信支付；然后清除该任务。",
    TryLater: "无需改动：稍后清除该任务，会从中断处继续。",
    QuotaReached: "北京时间零点后清除该任务，会上传剩余文件。",
    WaitFailed: "请查看下列匹配失败的文件，或改正信息中指出的问题。",
    UnverifiedAnswer: "请清除该任务。如果再次失败，请查明是什么改动了微信支付的应答。",
    Timeout: "已超时。清除该任务后会继续，不会重复上传文件。",
    Other: "详见任务日志。",
  },
  sentToday: (files, quota, conn) => `今日（北京时间）约已发送 ${quota === null ? files : `${files} / ${quota}`} 个文件${conn ? `（连接 ${conn}）` : ""}。`,
  imports: "导入",
  states: {
    failed: "失败", unaccounted: "已完成，数目不符", unmatched: "已完成，大量匹配失败", exporting: "导出中", exported: "已导出",
    uploading: "上传中", uploaded: "已上传", processing: "处理中", finished: "已完成", skipped: "已跳过",
  },
  searchImports: "搜索导入",
  searchImportsHint: "DAG、运行、号码包或用户",
  dag: "DAG",
  from: "开始日期从",
  to: "至",
  order: "排序",
  orders: { package: "按号码包", newest: "最新在前", oldest: "最早在前", state: "按状态，失败在前", rate: "匹配率低者在前", numbers: "协议号多者在前" },
  reset: "重置",
  noSuchImports: "没有符合条件的导入。",
  noNumbers: "不能按协议号搜索导入：此处不保存协议号，而且它会留在日志中。",
  stateCount: (count, state) => `${count} 次${state}`,
  summary: (text, count, packages, states, numbers, rate) =>
    `${text} 次导入${packages > 1 ? `，${packages} 个号码包` : ""}${states.length ? `：${states.join("；")}` : ""} · ${numbers} 个协议号${rate === null ? "" : `，匹配率 ${rate}`}`,
  download: "下载所显示的内容",
  downloadAs: (kind) => `以 ${kind} 格式下载所显示的内容`,
};

// The language that Airflow took from the browser, or that was chosen in it.
const wanted = localStorage.getItem("i18nextLng") || navigator.language;
export const language = wanted.toLowerCase().startsWith("zh") ? "zh-CN" : "en";
export const words = language === "en" ? ENGLISH : CHINESE;

// The time zone that was chosen in Airflow, else the browser's.
const timeZone = (() => {
  try {
    const chosen = JSON.parse(localStorage.getItem("timezone"));
    new Intl.DateTimeFormat("en", { timeZone: chosen });
    return typeof chosen === "string" ? chosen : undefined;
  } catch {
    return undefined;
  }
})();

const locale = language === "en" ? (wanted.toLowerCase().startsWith("en") ? wanted : "en") : language;
const numbers = new Intl.NumberFormat(locale);
const percents = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });
const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone };
const times = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", ...clock });
const yearTimes = new Intl.DateTimeFormat(locale, { year: "numeric", month: "short", day: "numeric", ...clock });
const days = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", timeZone });
const clocks = new Intl.DateTimeFormat(locale, { ...clock, second: "2-digit" });

export const number = (value) => numbers.format(value);
// Rounded down: 100 % is said of all alone.
export const percent = (share) => percents.format(Math.floor(share * 1000) / 1000);
// With seconds and the time zone, for who compares it with a log.
const exactTimes = new Intl.DateTimeFormat(locale, {
  year: "numeric", month: "short", day: "numeric", ...clock, second: "2-digit", timeZoneName: "longOffset",
});
export const exactTime = (seconds) => exactTimes.format(seconds * 1000);
export const clockTime = (seconds) => clocks.format(seconds * 1000);
export const time = (seconds) => {
  const moment = new Date(seconds * 1000);
  return (moment.getFullYear() === new Date().getFullYear() ? times : yearTimes).format(moment);
};

// How far the page's time zone is ahead of UTC at a moment, both in milliseconds.
const zoneParts = new Intl.DateTimeFormat("en-US", {
  timeZone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
});
const ahead = (moment) => {
  const part = Object.fromEntries(zoneParts.formatToParts(moment).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - moment;
};
// Unix seconds at which a day such as 2026-03-31 begins. Asked for twice, it is right where clocks are changed.
export const dayBegins = (text) => {
  const midnight = Date.parse(`${text}T00:00:00Z`);
  return (midnight - ahead(midnight - ahead(midnight))) / 1000;
};

export const day = (seconds) => (seconds === undefined ? "" : days.format(seconds * 1000));
export const duration = (seconds) => {
  const minutes = Math.round(seconds / 60);
  if (seconds > 0 && seconds < 60) return words.underMinute;
  return minutes < 60 ? words.minutes(number(minutes)) : words.hours(number(Math.floor(minutes / 60)), minutes % 60);
};

// What a task failed of, and what to do about it: by the error's class, by its kind, or by what Airflow knows.
export const failureTitle = (task) => words.steps[task.step].failed;
export const remedyOf = (task) =>
  task.cause === "told"
    ? (words.remedies[task.error] ?? words.remedies[task.kind] ?? words.remedies.Other)
    : words.causes[task.cause];
