<?php
/*
 * A stand-in for REDCap's API under real PHP, for tests:
 *
 *     STATE=DIRECTORY php -S 127.0.0.1:PORT router.php
 *
 * Written from what REDCap's public API documentation and public clients say, apart from the Python sandbox, so that the
 * two can disagree. DIRECTORY/project.json describes the project, DIRECTORY/records.json holds the rows; files lie in
 * DIRECTORY/files. If DIRECTORY/noisy exists, the code meets a bug that PHP warns of before anything is answered; if it
 * holds "at once", the head of the reply is out by then, as it is where output_buffering is off.
 * If DIRECTORY/no_length exists, replies do not tell their length, as PHP's own server leaves it; if it holds "cut", files are
 * given out less than whole, another part each time.
 * If DIRECTORY/emptied exists (`501 SOME WORDS`), an empty request, as of a form over post_max_size, is answered so.
 * /echo tells what PHP made of a request. Start PHP with -d output_buffering=SIZE: each reply tells its length.
 */

declare(strict_types=1);

$state = getenv('STATE');
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/echo') {
    tell_what_came();
} elseif ($path === '/api/') {
    if (file_exists("$state/noisy")) {
        $settings = [];
        $level = $settings['a_setting_that_an_upgrade_forgot'];
    }
    $lock = fopen("$state/lock", 'c');
    flock($lock, LOCK_EX);
    answer();
} else {
    http_response_code(404);
    echo '<!DOCTYPE html><html><head><title>Not found</title></head><body>No such page</body></html>';
}
if (!file_exists("$state/no_length")) {
    header('Content-Length: ' . ob_get_length());
}

/** For comparing parsers: every variable and file, in base64 where they may be any bytes. */
function tell_what_came(): void
{
    header('Content-Type: application/json');
    $files = [];
    foreach ($_FILES as $key => $file) {
        if (is_array($file['name'])) {
            continue;
        }
        $content = $file['error'] === UPLOAD_ERR_OK ? file_get_contents($file['tmp_name']) : '';
        $files[] = [
            'key' => base64_encode((string) $key),
            'name' => base64_encode($file['name']),
            'error' => $file['error'],
            'size' => $file['size'],
            'sha256' => hash('sha256', $content),
        ];
    }
    echo json_encode(['post' => flat($_POST), 'files' => $files]);
}

/** @return list<array{string, string}|array{string, list<array{string, mixed}>}> */
function flat(array $values): array
{
    $pairs = [];
    foreach ($values as $key => $value) {
        $pairs[] = [base64_encode((string) $key), is_array($value) ? flat($value) : base64_encode($value)];
    }
    return $pairs;
}

function answer(): void
{
    $project = project();
    $content = text('content');
    $emptied = project_directory() . '/emptied';
    if ($_POST === [] && file_exists($emptied)) {
        [$status, $words] = explode(' ', file_get_contents($emptied), 2);
        refuse((int) $status, $words);
        return;
    }
    if (text('token') !== $project['token']) {
        refuse(403, 'You do not have permissions to use the API');
        return;
    }
    switch ($content) {
        case 'version':
            header('Content-Type: text/html; charset=utf-8');
            echo '14.5.2';
            break;
        case 'project':
            give($project['info']);
            break;
        case 'metadata':
        case 'user':
            give($project[$content]);
            break;
        case 'event':
        case 'formEventMapping':
            if ($project['info']['is_longitudinal']) {
                give($project[$content]);
            } else {
                refuse(400, 'You cannot export ' . ($content === 'event' ? 'events' : 'form/event mappings') . ' for classic projects');
            }
            break;
        case 'repeatingFormsEvents':
            if ($project[$content]) {
                give($project[$content]);
            } else {
                refuse(400, 'The project does not contain any repeating instruments and events');
            }
            break;
        case 'record':
            text('action') === 'import' ? import_records() : export_records();
            break;
        case 'file':
            file_action();
            break;
        default:
            refuse(400, 'The value of the parameter "content" is not valid');
    }
}

// Records: rows, each with its event, form and instance where the project has such ------------------------------------

function export_records(): void
{
    $project = project();
    $id = $project['metadata'][0]['field_name'];
    $wanted = listed('records');
    $fields = listed('fields') ?: array_column($project['metadata'], 'field_name');
    $conditions = [];
    foreach (text('filterLogic') === '' ? [] : explode(' or ', text('filterLogic')) as $one) {
        if (!preg_match('/^\[(\w+)\] = ([\'"])(.*)\2$/s', $one, $condition)) {
            refuse(400, 'The filter logic is more than this stand-in knows');
            return;
        }
        $conditions[] = [$condition[1], $condition[3]];
    }
    $rows = [];
    foreach (rows() as $row) {
        if ($wanted && !in_array($row['record'], $wanted, true)) {
            continue;
        }
        // As PHP compares if nobody takes care: '0012' == '12', '1e3' == '1000'.
        $fits = fn (array $condition): bool => ($row['values'][$condition[0]] ?? '') == $condition[1];
        if ($conditions && !array_filter($conditions, $fits)) {
            continue;
        }
        $given = in_array($id, $fields, true) ? [$id => $row['record']] : [];
        if ($project['info']['is_longitudinal']) {
            $given['redcap_event_name'] = $row['event'];
        }
        if ($project['repeatingFormsEvents']) {
            $given['redcap_repeat_instrument'] = $row['form'];
            $given['redcap_repeat_instance'] = $row['instance'];
        }
        foreach ($fields as $field) {
            if ($field !== $id) {
                $value = $row['values'][$field] ?? '';
                $given[$field] = $value !== '' && in_array($field, $project['file_fields'], true) ? '[document]' : $value;
            }
        }
        $rows[] = $given;
    }
    give($rows);
}

function import_records(): void
{
    $id = project()['metadata'][0]['field_name'];
    $rows = rows();
    $imported = [];
    foreach (json_decode(text('data'), true, 512, JSON_THROW_ON_ERROR) as $new) {
        $record = (string) $new[$id];
        $at = row_of($rows, $record, $new['redcap_event_name'] ?? '', '', '');
        foreach ($new as $field => $value) {
            if ($field !== $id && $field !== 'redcap_event_name') {
                $rows[$at]['values'][$field] = $value;
            }
        }
        $imported[] = $record;
    }
    keep($rows);
    give($imported);
}

// Files ---------------------------------------------------------------------------------------------------------------

function file_action(): void
{
    $project = project();
    $record = text('record');
    $field = text('field');
    $event = $project['info']['is_longitudinal'] ? text('event') : '';
    $of = array_column($project['metadata'], null, 'field_name')[$field] ?? null;
    $rows = rows();
    if ($of === null || $of['field_type'] !== 'file') {
        refuse(400, "The field '$field' does not exist or is not a 'file' field");
    } elseif (!in_array($record, array_column($rows, 'record'), true)) {
        refuse(400, "The record '$record' does not exist");
    } elseif ($event !== '' && !in_array($event, array_column($project['event'], 'unique_event_name'), true)) {
        refuse(400, "The event '$event' does not exist");
    } else {
        [$form, $instance] = ['', ''];
        foreach ($project['repeatingFormsEvents'] as $repeats) {
            if ($repeats['form_name'] === $of['form_name'] && ($event === '' || $repeats['event_name'] === $event)) {
                [$form, $instance] = [$of['form_name'], (int) (text('repeat_instance') ?: 1)];
            }
        }
        $at = row_of($rows, $record, $event, $form, $instance);
        $stored = project_directory('files') . '/' . sha1(json_encode([$record, $event, $form, $instance, $field]));
        match (text('action')) {
            'import' => import_file($rows, $at, $field, $stored),
            'export' => export_file($rows[$at]['values'][$field] ?? '', $stored),
            'delete' => delete_file($rows, $at, $field, $stored),
            default => refuse(400, 'The value of the parameter "action" is not valid'),
        };
    }
}

function import_file(array $rows, int $at, string $field, string $stored): void
{
    $file = $_FILES['file'] ?? null;
    if ($file === null || $file['error'] !== UPLOAD_ERR_OK || $file['size'] === 0) {
        $too_large = $file !== null && $file['error'] === UPLOAD_ERR_INI_SIZE;
        refuse(400, $too_large ? 'The file exceeds the maximum size that the server takes' : 'No valid file was uploaded');
        return;
    }
    move_uploaded_file($file['tmp_name'], $stored);
    $rows[$at]['values'][$field] = base64_encode($file['name']);
    keep($rows);
    header('Content-Type: text/html; charset=utf-8');
}

function export_file(string $name, string $stored): void
{
    if (!file_exists($stored)) {
        refuse(400, 'There is no file to download for this record');
        return;
    }
    $name = preg_replace('/[\x00-\x1f"]/', '_', base64_decode($name));
    header("Content-Type: application/octet-stream; name=\"$name\"");
    $cut = @file_get_contents(project_directory() . '/no_length') === 'cut';
    echo $cut ? substr(file_get_contents($stored), 0, hrtime(true) % filesize($stored)) : file_get_contents($stored);
}

function delete_file(array $rows, int $at, string $field, string $stored): void
{
    if (!file_exists($stored)) {
        refuse(400, 'There is no file to delete for this record');
        return;
    }
    unlink($stored);
    $rows[$at]['values'][$field] = '';
    keep($rows);
}

// What the request says, what is stored, what is answered --------------------------------------------------------------

function text(string $name): string
{
    return is_string($_POST[$name] ?? null) ? $_POST[$name] : '';
}

/** @return list<string> */
function listed(string $name): array
{
    $value = $_POST[$name] ?? [];
    return array_values(is_array($value) ? $value : explode(',', $value));
}

function project(): array
{
    return json_decode(file_get_contents(project_directory() . '/project.json'), true);
}

function project_directory(string $beneath = ''): string
{
    return rtrim(getenv('STATE') . "/$beneath", '/');
}

function rows(): array
{
    return json_decode(file_get_contents(project_directory() . '/records.json'), true);
}

function keep(array $rows): void
{
    file_put_contents(project_directory() . '/records.json', json_encode($rows));
}

/** The number of a row in $rows, which is added if there is none. */
function row_of(array &$rows, string $record, string $event, string $form, string|int $instance): int
{
    $row = ['record' => $record, 'event' => $event, 'form' => $form, 'instance' => $instance];
    foreach ($rows as $number => $known) {
        if (array_diff_key($known, ['values' => 0]) === $row) {
            return $number;
        }
    }
    $rows[] = $row + ['values' => []];
    return count($rows) - 1;
}

function give(array $value): void
{
    header('Content-Type: application/json; charset=utf-8');
    echo json_encode($value, JSON_INVALID_UTF8_SUBSTITUTE);
}

function refuse(int $status, string $why): void
{
    if (@file_get_contents(project_directory() . '/noisy') !== 'at once') {
        http_response_code($status);
        header('Content-Type: ' . (text('returnFormat') === 'json' ? 'application/json' : 'text/xml') . '; charset=utf-8');
    }
    // XML is the default, which also a client hears whose request PHP has dropped.
    echo text('returnFormat') === 'json'
        ? json_encode(['error' => $why])
        : '<?xml version="1.0" encoding="UTF-8" ?><hash><error>' . htmlspecialchars($why, ENT_XML1) . '</error></hash>';
}
