<?php
// A guestbook: POST / with text=… answers the entry's id once it is on disk; GET /entries lists all ids.
$db = new SQLite3(dirname(__DIR__) . '/guestbook.db');
$db->busyTimeout(5000);
$db->exec('PRAGMA synchronous = FULL');
$db->exec('CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
header('Content-Type: text/plain');
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $insert = $db->prepare('INSERT INTO entries (text) VALUES (:text)');
    $insert->bindValue(':text', $_POST['text'] ?? '');
    if (!$insert->execute()) {
        http_response_code(500);
        exit;
    }
    echo $_POST['text'], "\n";
} elseif ($path === '/entries') {
    $rows = $db->query('SELECT text FROM entries ORDER BY id');
    while ($row = $rows->fetchArray(SQLITE3_NUM)) {
        echo $row[0], "\n";
    }
} elseif ($path === '/integrity') {
    echo $db->querySingle('PRAGMA integrity_check'), "\n";
} else {
    echo 'guestbook: ', $db->querySingle('SELECT count(*) FROM entries'), " entries\n";
}
