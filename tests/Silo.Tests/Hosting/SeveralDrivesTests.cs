using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>A node with several drives, and one with those of a storage node, as processes: what an operator orders, and what is lost with a process.</summary>
public sealed class SeveralDrivesTests : IDisposable
{
    private static readonly (string, string) Keys = ("drives", "drives-secret-key");
    private readonly TemporaryFolder _folder = new();
    private readonly HttpClient _http = new() { Timeout = TimeSpan.FromSeconds(20) };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _http.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task Drain_MovesEverything_ThenTheDriveCanBeRemoved_AndTakenBack()
    {
        string[] schemes = [.. new[] { "STANDARD", "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE" }.SelectMany(name => new[] { "--scheme", name + "=2/2+2@200KiB" })];
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, ["--drives", _folder["d{1...5}"], .. schemes]);
        using S3Client client = new(host.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
        byte[] body = new byte[300_000];
        new Random(7).NextBytes(body);
        for (int i = 0; i < 6; i++) Assert.Equal(HttpStatusCode.OK, (await client.PutAsync($"/bucket/{i}", body)).Status);

        JsonElement status = await AskAsync(host, "status");
        Assert.Equal(JsonValueKind.Null, status.GetProperty("repair").GetProperty("bytesPerSecond").ValueKind);
        Assert.False(status.GetProperty("orphans").GetProperty("kept").GetBoolean());
        Assert.All(status.GetProperty("classes").EnumerateArray(), each => Assert.Equal(200 << 10, each.GetProperty("smallBelowBytes").GetInt32()));
        JsonElement drive = status.GetProperty("drives")[0];
        string id = drive.GetProperty("driveId").GetString()!;
        Assert.True(drive.GetProperty("slots").GetInt32() > 0);
        Assert.Equal(HttpStatusCode.Conflict, (await OrderAsync(host, id, "removed")).Status);

        (HttpStatusCode changed, JsonElement answer) = await OrderAsync(host, id, "draining");
        Assert.Equal(HttpStatusCode.OK, changed);
        Assert.Equal((0, "draining"), (Of(answer, id).GetProperty("slots").GetInt32(), Of(answer, id).GetProperty("state").GetString()));

        // Four drives are left, which is as many as a scheme wants.
        Assert.Equal(HttpStatusCode.Conflict, (await OrderAsync(host, status.GetProperty("drives")[1].GetProperty("driveId").GetString()!, "draining")).Status);
        await UntilAsync(async () => Of(await AskAsync(host, "drives"), id).GetProperty("sourceOf").GetInt32() == 0, "the drain", host);

        // The names that s3-admin durability reads; sizes come with the first probe.
        string[] names = ["objectstore_repair_bytes_rebuilt_bytes_total", "objectstore_repair_active_seconds_total", "objectstore_drive_capacity_bytes"];
        await UntilAsync(
            async () => (await client.SendUnsignedAsync(HttpMethod.Get, "/metrics")).Text is var metrics && names.All(name => Regex.IsMatch(metrics, $@"(?m)^{name}(\{{.+\}})? (?!0$)")),
            "the metrics", host);
        (HttpStatusCode removed, answer) = await OrderAsync(host, id, "removed");
        Assert.Equal((HttpStatusCode.OK, "removed"), (removed, Of(answer, id).GetProperty("state").GetString()));
        for (int i = 0; i < 6; i++) Assert.Equal(body, (await client.GetAsync($"/bucket/{i}")).Body);
        (_, answer) = await OrderAsync(host, id, "up");
        Assert.True(Of(answer, id).GetProperty("slots").GetInt32() > 0);
        await host.StopAsync();
    }

    /// <summary>The default classes ask for up to 20 drives, so that one of them would want every drive there is.</summary>
    [Fact]
    public async Task Drain_WithTheDefaultClasses_NeedsNoForce_AndEnds()
    {
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, ["--drives", _folder["d{1...5}"]]);
        using S3Client client = new(host.Endpoint, Keys);
        JsonElement[] drives = [.. (await AskAsync(host, "drives")).GetProperty("drives").EnumerateArray()];
        Assert.All(drives, drive => Assert.Equal(0, drive.GetProperty("slots").GetInt32()));
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket/key", "value"u8.ToArray())).Status);
        string id = drives[0].GetProperty("driveId").GetString()!;
        Assert.Equal(HttpStatusCode.OK, (await OrderAsync(host, id, "draining")).Status);
        await UntilAsync(async () => Of(await AskAsync(host, "drives"), id).GetProperty("sourceOf").GetInt32() == 0, "the drain", host);
        Assert.Equal(HttpStatusCode.OK, (await OrderAsync(host, id, "removed")).Status);
        Assert.Contains("\"slotsWithoutDrive\":0", (await client.SendUnsignedAsync(HttpMethod.Get, "/health")).Text, StringComparison.Ordinal);

        // The first large object is of four copies, on the four drives that are left: none of them may go any more.
        byte[] large = new byte[700_000];
        new Random(5).NextBytes(large);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket/large", large)).Status);
        Assert.Equal(large, (await client.GetAsync("/bucket/large")).Body);
        Assert.Equal(HttpStatusCode.Conflict, (await OrderAsync(host, drives[1].GetProperty("driveId").GetString()!, "draining")).Status);
        await host.StopAsync();

        // The groups outlast a restart.
        await using HostProcess again = await HostProcess.StartAsync(_folder["data"], Keys, ["--drives", _folder["d{1...5}"]]);
        using S3Client reader = new(again.Endpoint, Keys);
        Assert.Equal(large, (await reader.GetAsync("/bucket/large")).Body);
        Assert.Equal("value"u8.ToArray(), (await reader.GetAsync("/bucket/key")).Body);
        await again.StopAsync();
    }

    [Fact]
    public async Task DrivesThatNeverComeBack_AreGivenUpByForce_AndWhatNeededThemSaysSo_AlsoAfterARestart()
    {
        string[] settings = ["--drives", _folder["d{1...5}"], .. new[] { "STANDARD", "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE" }.SelectMany(name => new[] { "--scheme", name + "=2/2+1" })];
        string[] ids;
        List<string> lost = [], kept = [];
        byte[] body = new byte[200_000];
        new Random(9).NextBytes(body);
        await using (HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, settings))
        {
            using S3Client client = new(host.Endpoint, Keys);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
            for (int i = 0; i < 30; i++) Assert.Equal(HttpStatusCode.OK, (await client.PutAsync($"/bucket/{i}", body)).Status);
            ids = [.. (await AskAsync(host, "drives")).GetProperty("drives").EnumerateArray().Take(2).Select(drive => drive.GetProperty("driveId").GetString()!)];
            Assert.Equal(HttpStatusCode.Conflict, (await OrderAsync(host, ids[0], "removed", force: true)).Status);

            // Both are out before anything is made elsewhere.
            Assert.Equal(HttpStatusCode.OK, (await PostAsync(host, "repair", """{"action":"pause"}""")).Status);
            foreach (string id in ids) Assert.Equal(HttpStatusCode.OK, (await OrderAsync(host, id, "out")).Status);
            for (int i = 0; i < 30; i++)
            {
                byte[]? read = await ReadAsync(client, $"/bucket/{i}", HttpStatusCode.ServiceUnavailable);
                Assert.Equal(body, read ?? body);
                (read is not null ? kept : lost).Add($"/bucket/{i}");
            }

            Assert.True(lost.Count > 0 && kept.Count > 0, $"{lost.Count} of 30 objects have two of three shards on the two drives.");
            Assert.Equal(HttpStatusCode.OK, (await PostAsync(host, "repair", """{"action":"resume"}""")).Status);
            await UntilAsync(async () => Repair(await AskAsync(host, "status"), "awaitingBlocks") == lost.Count, "the count of what waits", host);

            // Waited for: not known to be lost, and not removed without force.
            Assert.Equal(0, Repair(await AskAsync(host, "status"), "lostBlocks"));
            (HttpStatusCode refused, JsonElement why) = await OrderAsync(host, ids[0], "removed");
            Assert.Equal(HttpStatusCode.Conflict, refused);
            Assert.Contains($"; {lost.Count} blocks are known", why.GetProperty("error").GetString(), StringComparison.Ordinal);
            foreach (string id in ids)
            {
                (HttpStatusCode given, JsonElement answer) = await OrderAsync(host, id, "removed", force: true);
                Assert.Equal((HttpStatusCode.OK, "removed", 0), (given, Of(answer, id).GetProperty("state").GetString(), Of(answer, id).GetProperty("sourceOf").GetInt32()));
                await SaysAsync(host, $"given up drive {id} for good");
            }

            await UntilAsync(async () => Repair(await AskAsync(host, "status"), "lostBlocks") == lost.Count, "the count of what is lost", host);
            await UntilAsync(async () => (await AskAsync(host, "drives")).GetProperty("drives").EnumerateArray().All(drive => drive.GetProperty("incompleteSlots").GetInt32() == 0), "the repair", host);
            Assert.Equal(0, Repair(await AskAsync(host, "status"), "awaitingBlocks"));
            await host.StopAsync();
        }

        await using HostProcess again = await HostProcess.StartAsync(_folder["data"], Keys, settings);
        using S3Client reader = new(again.Endpoint, Keys);
        foreach (string id in ids) Assert.Equal("removed", Of(await AskAsync(again, "drives"), id).GetProperty("state").GetString());
        foreach (string key in kept) Assert.Equal(body, (await reader.GetAsync(key)).Body);
        foreach (string key in lost) Assert.Null(await ReadAsync(reader, key, HttpStatusCode.InternalServerError));
        await UntilAsync(async () => Repair(await AskAsync(again, "status"), "lostBlocks") == lost.Count, "the count after the restart", again);

        // Here the drives were there all the time: one that is taken back has what was given up.
        Assert.Equal(HttpStatusCode.OK, (await OrderAsync(again, ids[1], "up")).Status);
        await UntilAsync(async () => Repair(await AskAsync(again, "status"), "lostBlocks") == 0, "the return of a drive", again);
        foreach (string key in lost) Assert.Equal(body, (await reader.GetAsync(key)).Body);
        await again.StopAsync();
    }

    [Fact]
    public async Task EmptyFolder_AtALaterStart_IsSetAside_UntilItIsFormatted()
    {
        string[] drives = ["--drives", _folder["d{1...3}"]];
        await using (HostProcess first = await HostProcess.StartAsync(_folder["data"], Keys, drives))
        {
            using S3Client writer = new(first.Endpoint, Keys);
            Assert.Equal(HttpStatusCode.OK, (await writer.PutAsync("/bucket")).Status);
            Assert.Equal(HttpStatusCode.OK, (await writer.PutAsync("/bucket/key", "value"u8.ToArray())).Status);
            foreach (string work in (string[])["repair", "scrub", "compaction", "garbage"])
                Assert.Equal(HttpStatusCode.OK, (await PostAsync(first, work, """{"action":"pause"}""")).Status);
            Assert.Equal(HttpStatusCode.OK, (await PostAsync(first, "scrub", """{"action":"resume"}""")).Status);
            await first.StopAsync();
        }

        Directory.Delete(_folder["d2"], recursive: true);
        Directory.CreateDirectory(_folder["d2"]);
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, drives);
        using S3Client client = new(host.Endpoint, Keys);
        Assert.False(File.Exists(_folder["d2/drive.json"]));
        await SaysAsync(host, "--format-new-drives");
        Assert.Equal(3, (await client.SendUnsignedAsync(HttpMethod.Get, "/health")).Text.Split("\"state\":\"Healthy\"").Length);
        JsonElement status = await AskAsync(host, "status");
        foreach (string work in (string[])["repair", "compaction", "garbage"])
            Assert.Equal("paused", status.GetProperty(work).GetProperty("state").GetString());
        Assert.NotEqual("paused", status.GetProperty("scrub").GetProperty("state").GetString());
        Assert.Equal(HttpStatusCode.NotFound, (await SendAsync(host, HttpMethod.Get, "", null)).Status);

        Assert.Equal(HttpStatusCode.BadRequest, (await PostAsync(host, "drives/format", "{\"path\":\"/elsewhere\"}")).Status);
        Assert.Equal(HttpStatusCode.Conflict, (await PostAsync(host, "drives/format", JsonSerializer.Serialize(new { path = _folder["d1"] }))).Status);
        (HttpStatusCode formatted, JsonElement answer) = await PostAsync(host, "drives/format", JsonSerializer.Serialize(new { path = _folder["d2"] }));
        Assert.Equal(HttpStatusCode.OK, formatted);
        Assert.Equal(4, answer.GetProperty("drives").GetArrayLength());
        Assert.Contains(answer.GetProperty("drives").EnumerateArray(), drive => drive.GetProperty("path").GetString() == _folder["d2"] && drive.GetProperty("slots").GetInt32() > 0);
        Assert.True(File.Exists(_folder["d2/drive.json"]));
        await host.StopAsync();
    }

    [Fact]
    public async Task Orders_OutliveTheProcess_ThatIsKilledOnceItHasAnswered()
    {
        string[] drives = ["--drives", _folder["d{1...4}"]];
        string[] ids;
        await using (HostProcess first = await HostProcess.StartAsync(_folder["data"], Keys, drives))
        {
            ids = [.. (await AskAsync(first, "drives")).GetProperty("drives").EnumerateArray().Select(drive => drive.GetProperty("driveId").GetString()!)];
            foreach ((string id, string state) in new[] { (ids[0], "out"), (ids[1], "draining"), (ids[2], "removed") })
            {
                if (state == "removed") Assert.Equal(HttpStatusCode.OK, (await OrderAsync(first, id, "out")).Status);
                Assert.Equal(HttpStatusCode.OK, (await OrderAsync(first, id, state)).Status);
            }

            await first.KillAsync();
        }

        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, drives);
        JsonElement after = await AskAsync(host, "drives");
        Assert.Equal(["out", "draining", "removed", "up"], ids.Select(id => Of(after, id).GetProperty("state").GetString()));
        await host.StopAsync();
    }

    [Fact]
    public async Task CopyOfADrive_IsSetAside_AndTheDriveStaysUp()
    {
        await using (HostProcess first = await HostProcess.StartAsync(_folder["data"], Keys, "--drives", _folder["d{1...3}"])) await first.StopAsync();
        Directory.CreateDirectory(_folder["d4"]);
        foreach (string file in Directory.GetFiles(_folder["d2"])) File.Copy(file, Path.Combine(_folder["d4"], Path.GetFileName(file)));

        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, "--drives", _folder["d{1...4}"], "--down-out-after", "1");
        await SaysAsync(host, "is here twice");
        await UntilAsync(
            async () => (await AskAsync(host, "drives")).GetProperty("drives").EnumerateArray().All(drive => drive.GetProperty("freeBytes") is { ValueKind: JsonValueKind.Number } free && free.GetInt64() > 0),
            "a heartbeat", host);
        JsonElement[] drives = [.. (await AskAsync(host, "status")).GetProperty("drives").EnumerateArray()];
        Assert.Equal(3, drives.Length);
        Assert.All(drives, drive => Assert.Equal("up", drive.GetProperty("state").GetString()));
        Assert.Contains(drives, drive => drive.GetProperty("path").GetString() == _folder["d2"]);
        Assert.Equal(HttpStatusCode.OK, (await OrderAsync(host, drives[0].GetProperty("driveId").GetString()!, "draining")).Status);
        Assert.Equal(HttpStatusCode.OK, (await PostAsync(host, "repair", """{"action":"pause"}""")).Status);
        await host.StopAsync();
    }

    [Fact]
    public async Task StorageNode_ThatIsKilled_CostsNoReads()
    {
        string secret = _folder["secret"];
        await File.WriteAllTextAsync(secret, "0123456789abcdef0123456789abcdef", Token);
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(secret, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await using HostProcess storage = await HostProcess.StartStorageAsync(_folder["storage"], secret, 0, "--drives", _folder["s{1...2}"]);
        string[] more = ["--drives", _folder["d{1...3}"], "--cluster-secret-file", secret, "--storage-nodes", storage.Endpoint.GetLeftPart(UriPartial.Authority)];

        // Five drives are too few for what is asked for here, which is known once the storage node's are registered.
        await using (HostProcess refused = HostProcess.Launch(["run", "--data", _folder["refused"], "--listen", "http://127.0.0.1:0", "--volume-size", "16MiB", "--headroom", "8MiB", .. more, "--drives", _folder["r{1...3}"], "--scheme", "STANDARD=3/4+2"]))
        {
            Assert.Equal(1, await refused.ExitAsync());
            Assert.Contains("4+2 for STANDARD, which needs 6 drives, and there are 5", refused.Errors, StringComparison.Ordinal);
        }

        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, [.. more, "--scheme", "STANDARD=3/3+2"]);
        using S3Client client = new(host.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
        byte[] small = new byte[10_000], large = new byte[700_000];
        new Random(11).NextBytes(small);
        new Random(12).NextBytes(large);
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync($"/bucket/small{i}", small)).Status);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync($"/bucket/large{i}", large)).Status);
        }

        JsonElement[] drives = [.. (await AskAsync(host, "drives")).GetProperty("drives").EnumerateArray()];
        Assert.Equal((5, 2), (drives.Length, drives.Select(drive => drive.GetProperty("nodeId").GetString()).Distinct().Count()));
        JsonElement remote = drives.First(IsRemote);
        Assert.False(remote.GetProperty("nodeId").GetString()!.EndsWith(":0", StringComparison.Ordinal));
        Assert.True(remote.GetProperty("usedBytes").GetInt64() > 0);
        Assert.True(remote.GetProperty("capacityBytes").GetInt64() > 0);

        await storage.KillAsync();
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(small, (await client.GetAsync($"/bucket/small{i}")).Body);
            Assert.Equal(large, (await client.GetAsync($"/bucket/large{i}")).Body);
        }

        remote = (await AskAsync(host, "drives")).GetProperty("drives").EnumerateArray().First(IsRemote);
        Assert.Equal(JsonValueKind.Null, remote.GetProperty("usedBytes").ValueKind);
        await host.StopAsync();

        static bool IsRemote(JsonElement drive) => drive.GetProperty("nodeId").GetString()!.StartsWith(Environment.MachineName + ":", StringComparison.Ordinal);
    }

    /// <summary>Null where it cannot be read: with this status, or, where the first bytes had been sent, by the end of the connection.</summary>
    private static async Task<byte[]?> ReadAsync(S3Client client, string path, HttpStatusCode failure)
    {
        try
        {
            Answer answer = await client.GetAsync(path);
            Assert.True(answer.Status == HttpStatusCode.OK || answer.Status == failure, $"{path}: {answer.Status}");
            return answer.Status == HttpStatusCode.OK ? answer.Body : null;
        }
        catch (HttpRequestException)
        {
            return null;
        }
    }

    private static long Repair(JsonElement status, string name) => status.GetProperty("repair").GetProperty(name).GetInt64();

    private static JsonElement Of(JsonElement list, string id) => list.GetProperty("drives").EnumerateArray().Single(drive => drive.GetProperty("driveId").GetString() == id);

    /// <summary>Its log arrives through a pipe, after answers to requests, perhaps.</summary>
    private static Task SaysAsync(HostProcess host, string text) => UntilAsync(() => Task.FromResult(host.Output.Contains(text, StringComparison.Ordinal)), $"'{text}' in the log", host);

    private static async Task UntilAsync(Func<Task<bool>> holds, string what, HostProcess host)
    {
        using CancellationTokenSource deadline = new(TimeSpan.FromSeconds(40));
        using PeriodicTimer poll = new(TimeSpan.FromMilliseconds(200));
        while (!await holds())
        {
            if (deadline.IsCancellationRequested) Assert.Fail($"{what}: not in 40 s.\n{host.Output}");
            await poll.WaitForNextTickAsync(Token);
        }
    }

    private async Task<JsonElement> AskAsync(HostProcess host, string what)
    {
        (HttpStatusCode status, JsonElement answer) = await SendAsync(host, HttpMethod.Get, "/" + what, null);
        Assert.Equal(HttpStatusCode.OK, status);
        return answer;
    }

    private Task<(HttpStatusCode Status, JsonElement Answer)> OrderAsync(HostProcess host, string drive, string state, bool force = false)
        => PostAsync(host, $"drives/{drive}/state", JsonSerializer.Serialize(new { state, force }));

    private Task<(HttpStatusCode Status, JsonElement Answer)> PostAsync(HostProcess host, string what, string body) => SendAsync(host, HttpMethod.Post, "/" + what, body);

    private async Task<(HttpStatusCode Status, JsonElement Answer)> SendAsync(HostProcess host, HttpMethod method, string what, string? body)
    {
        using HttpRequestMessage request = new(method, new Uri(host.Endpoint, "/admin/v1" + what));
        request.Headers.Add("x-objectstore-admin-token", (await File.ReadAllTextAsync(_folder["data/admin.token"], Token)).Trim());
        if (body is not null) request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
        using HttpResponseMessage response = await _http.SendAsync(request, Token);
        return (response.StatusCode, JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync(Token)).RootElement);
    }
}
