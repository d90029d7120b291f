using System.Diagnostics;
using System.Net;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>A data folder on a file system that is really full: a tmpfs of 96 MiB, which needs root.</summary>
public sealed class FullDiskTests
{
    private static readonly (string, string) Keys = ("full", "full-secret-key");

    [Fact]
    public async Task FullDisk_RefusesWrites_ServesReads_AndTakesWritesAgainOnceThereIsSpace()
    {
        using SmallDisk disk = SmallDisk.Mount();
        await using HostProcess host = await HostProcess.StartAsync(disk["data"], Keys, "--garbage-grace", "0");
        using S3Client client = new(host.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);

        byte[] body = new byte[2 << 20];
        int stored = await FillAsync(client, body);
        Assert.InRange(stored, 10, 48);

        // Nothing of a refused one is visible.
        Answer refused = await client.PutAsync("/bucket/refused", body);
        Assert.Equal(507, (int)refused.Status);
        Assert.Contains("<Code>InsufficientStorage</Code>", refused.Text, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync("/bucket/refused")).Status);
        for (int i = 0; i < stored; i++) Assert.Equal(body.Length, (await client.GetAsync($"/bucket/{i}")).Body.Length);
        Assert.Contains("<KeyCount>" + stored, (await client.GetAsync("/bucket", "list-type=2")).Text, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, (await client.SendUnsignedAsync(HttpMethod.Get, "/health/live")).Status);

        // Deletes go on; volumes that hold garbage only are given back in the background.
        for (int i = 0; i < stored; i++) Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync($"/bucket/{i}")).Status);
        await UntilAsync(async () => (await client.PutAsync("/bucket/after", body)).Status == HttpStatusCode.OK, "space of deleted objects", host);
        Assert.Equal(body, (await client.GetAsync("/bucket/after")).Body);
        await host.StopAsync();
    }

    [Fact]
    public async Task DiskFilledByOthers_RefusesWrites_AndTakesThemOnceTheOthersAreGone()
    {
        using SmallDisk disk = SmallDisk.Mount();
        await using HostProcess host = await HostProcess.StartAsync(disk["data"], Keys);
        using S3Client client = new(host.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket/before", "before"u8.ToArray())).Status);
        disk.FillUp();

        await FillAsync(client, new byte[1 << 20]);
        Assert.Equal("before", (await client.GetAsync("/bucket/before")).Text);

        disk.GiveBack();
        await UntilAsync(async () => (await client.PutAsync("/bucket/after", new byte[1 << 20])).Status == HttpStatusCode.OK, "space of foreign files", host);
        await host.StopAsync();
    }

    [Fact]
    public async Task Restart_OnAFullDrive_ServesReadsAndRefusesWrites()
    {
        using SmallDisk disk = SmallDisk.Mount();
        await using (HostProcess first = await HostProcess.StartAsync(disk["data"], Keys))
        {
            using S3Client client = new(first.Endpoint, Keys);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket/before", "before"u8.ToArray())).Status);
            await first.StopAsync();
        }

        // Less than the headroom is left, yet enough for the databases to open.
        disk.FillUp(leaveBytes: 4 << 20);
        await using HostProcess second = await HostProcess.StartAsync(disk["data"], Keys);
        using S3Client again = new(second.Endpoint, Keys);
        Assert.Equal("before", (await again.GetAsync("/bucket/before")).Text);
        await FillAsync(again, new byte[1 << 20]);
        Assert.Equal("before", (await again.GetAsync("/bucket/before")).Text);
    }

    [Fact]
    public async Task Start_OnADiskWithoutAByteLeft_IsRefusedInOneLine()
    {
        using SmallDisk disk = SmallDisk.Mount();
        disk.FillUp();
        await using HostProcess host = HostProcess.Launch(["run", "--data", disk["data"], "--listen", "http://127.0.0.1:0", "--volume-size", "16MiB", "--headroom", "8MiB"]);
        Assert.Equal(1, await host.ExitAsync());
        Assert.StartsWith("objectstore: ", Assert.Single(host.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", host.Output, StringComparison.Ordinal);

        // What it could not finish is not in the way once there is space.
        disk.GiveBack();
        await using HostProcess again = await HostProcess.StartAsync(disk["data"], Keys);
        using S3Client client = new(again.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
    }

    /// <summary>
    /// Puts objects until they are refused for want of space again and again; how many were stored. Any other answer fails. The first refusal does not say that the disk is full for good: what a
    /// refused write had stored is deleted, and its space may return.
    /// </summary>
    private static async Task<int> FillAsync(S3Client client, byte[] body)
    {
        using PeriodicTimer between = new(TimeSpan.FromMilliseconds(150));
        int stored = 0;
        for (int i = 0, refusals = 0; i < 200; i++)
        {
            Answer answer = await client.PutAsync($"/bucket/{stored}", body);
            if (answer.Status == HttpStatusCode.OK)
            {
                stored++;
                refusals = 0;
                continue;
            }

            Assert.True((int)answer.Status == 507, $"{answer.Status}: {answer.Text}");
            if (++refusals == 8) return stored;
            await between.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }

        Assert.Fail("The disk never filled up.");
        return 0;
    }

    private static async Task UntilAsync(Func<Task<bool>> holds, string what, HostProcess host)
    {
        using CancellationTokenSource deadline = new(TimeSpan.FromSeconds(30));
        using PeriodicTimer poll = new(TimeSpan.FromMilliseconds(100));
        while (!await holds())
        {
            if (deadline.IsCancellationRequested) Assert.Fail($"{what}: not in 30 s.\n{host.Output}");
            await poll.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }
    }

    private sealed class SmallDisk : IDisposable
    {
        private readonly string _path;

        private SmallDisk(string path) => _path = path;

        public string this[string name] => Path.Combine(_path, name);

        public static SmallDisk Mount()
        {
            string path = Directory.CreateTempSubdirectory("objectstore-disk-").FullName;
            if (OperatingSystem.IsLinux() && Run("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", path) == 0) return new SmallDisk(path);
            Directory.Delete(path);
            Assert.Skip("A full disk was NOT tested: a tmpfs cannot be mounted here (it takes root on Linux).");
            throw new InvalidOperationException();
        }

        /// <summary>Takes every byte that is left, or all but a few.</summary>
        public void FillUp(long leaveBytes = 0)
        {
            using FileStream file = new(this["foreign"], FileMode.Append, FileAccess.Write, FileShare.None, bufferSize: 0);
            byte[] block = new byte[4096];
            try
            {
                while (true) file.Write(block);
            }
            catch (IOException)
            {
                // Full.
            }

            if (leaveBytes > 0) file.SetLength(file.Length - leaveBytes);
        }

        public void GiveBack() => File.Delete(this["foreign"]);

        public void Dispose()
        {
            if (Run("umount", _path) != 0) Run("umount", "-l", _path);
            Directory.Delete(_path);
        }

        private static int Run(string program, params string[] arguments)
        {
            ProcessStartInfo start = new(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true };
            using Process process = Process.Start(start)!;
            process.WaitForExit();
            return process.ExitCode;
        }
    }
}
