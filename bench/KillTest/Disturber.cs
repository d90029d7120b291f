using System.Diagnostics;

namespace ObjectStore.KillTest;

/// <summary>What was under way at the kills.</summary>
/// <param name="Kills">Kills with something under way begun and not ended, as /health and /metrics said just before, by what it was.</param>
/// <param name="Ended">Kills that came when it had ended already.</param>
/// <param name="WholeMedianSeconds">From the wish that the pool be whole to its being so.</param>
/// <param name="DrivesLost">Folders deleted.</param>
/// <param name="SlowDowns">Requests answered SlowDown, and repeated.</param>
public sealed record DisturbanceReport(
    IReadOnlyDictionary<string, int> Kills, int Ended, int DrivesLost, int DrivesFilled, int Drains, double WholeMedianSeconds, double WholeMaxSeconds, long SlowDowns);

/// <summary>
/// Loses, replaces, drains and takes back drives of a server of one node, so that it is in the midst of repair, rebalance or compaction when it is killed.
///
/// What the schemes promise bounds what may be lost. Of a whole and idle pool two drives may go. Under load it is one, since an answer waits for one fragment more than is needed, not for all.
/// Nothing more goes before the pool is whole again.
/// </summary>
public sealed class Disturber(KillTestOptions options, string folder, int port, string tokenFile) : IDisposable
{
    private const int PollMs = 25;
    private const string Again = " again";
    private static readonly TimeSpan BeginLimit = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan CompactionLimit = TimeSpan.FromSeconds(150);

    private readonly NodeClient _node = new(port, tokenFile);
    private readonly SortedDictionary<string, int> _kills = [];
    private readonly List<double> _wholeSeconds = [];
    private readonly List<string> _lost = [];
    private readonly List<string> _filling = [];
    private NodeDrive? _draining;
    private string _kind = "";
    private bool _filled;
    private bool _loseUnderLoad;
    private bool _replace;
    private int _ended;
    private int _drivesLost;
    private int _drivesFilled;
    private int _drains;

    /// <summary>The drives' folders.</summary>
    public IReadOnlyList<string> Drives { get; } = [.. Enumerable.Range(1, options.Drives).Select(number => Path.Combine(folder, $"{number}"))];

    /// <summary>For the next start. STANDARD has its default schemes; the wider ones of other classes would be as wide as the pool, and no drive could be drained.</summary>
    public string[] ServerArguments =>
    [
        "--scheme", "STANDARD_IA=3/6+3", "--scheme", "GLACIER=3/6+3", "--scheme", "DEEP_ARCHIVE=3/6+3",
        "--down-out-after", "1", "--garbage-grace", "1", "--headroom", "64MiB", "--repair-rate", options.RepairRate!, .. _replace ? ["--format-new-drives"] : Array.Empty<string>(),
    ];

    /// <summary>What happened in this round.</summary>
    public string Said { get; private set; } = "";

    public DisturbanceReport Report => new(
        _kills, _ended, _drivesLost, _drivesFilled, _drains, Math.Round(_wholeSeconds.Count == 0 ? 0 : _wholeSeconds.Order().ElementAt(_wholeSeconds.Count / 2), 1),
        Math.Round(_wholeSeconds.DefaultIfEmpty().Max(), 1), S3Client.SlowDowns);

    /// <summary>Before the load: decides what is to be under way. While something still is, it may be that again.</summary>
    public void Prepare(Random random)
    {
        Said = "";
        _loseUnderLoad = false;
        _replace = false;
        if (_kind.Length > 0 && _kind != "compaction" && _node.GetRedundancy() is { IncompleteSlots: > 0 } && random.Next(4) < (_filling.Count > 0 ? 3 : 2))
        {
            _kind = _kind.Split(' ')[0] + Again;
            return;
        }

        if (!_filled)
        {
            _filled = true;
            return;
        }

        WaitUntilWhole();
        _filling.Clear();
        List<string> kinds = [];
        if (options.Disturb.HasFlag(Disturbance.Repair)) kinds.AddRange(_lost.Count == 0 ? ["repair", "repair"] : ["refill", "refill"]);
        if (options.Disturb.HasFlag(Disturbance.Drain)) kinds.Add(_draining is null ? "drain" : "rebalance");
        if (options.Disturb.HasFlag(Disturbance.Compaction)) kinds.Add("compaction");
        _kind = kinds[random.Next(kinds.Count)];
        switch (_kind)
        {
            case "repair" when random.Next(2) == 0:
                Lose(random);
                Lose(random);
                break;
            case "repair":
                _loseUnderLoad = true;
                break;
            case "refill":
                // The folders are filled from the next start on; this kill comes at any time.
                _replace = true;
                break;
            case "drain":
                NodeDrive[] up = [.. _node.GetDrives().Where(drive => drive.State == "up")];
                _draining = up[random.Next(up.Length)];
                _node.SetState(_draining.DriveId, "draining");
                _drains++;
                Say($"draining {Path.GetFileName(_draining.Path)}");
                break;
            case "rebalance":
                _node.SetState(_draining!.DriveId, "up");
                Say($"taking {Path.GetFileName(_draining.Path)} back");
                _draining = null;
                break;
        }
    }

    /// <summary>Under load: returns when the kill is to come, so long after the disturbance has shown.</summary>
    public void DisturbUntil(TimeSpan load, Random random)
    {
        Stopwatch watch = Stopwatch.StartNew();
        if (_loseUnderLoad) Lose(random);
        if (_kind.Length == 0)
        {
            // The first round: so that there is something to move.
            Thread.Sleep(options.MaxLoad + load);
            Say("filled");
            return;
        }

        if (_kind == "refill")
        {
            Thread.Sleep(load);
            Say("before new drives");
            return;
        }

        bool compaction = _kind == "compaction";
        double moved = Progress(compaction);
        while (!IsUnderWay(compaction, ref moved))
        {
            bool isOver = _kind.EndsWith(Again, StringComparison.Ordinal) && _node.GetRedundancy().IncompleteSlots == 0;
            if (isOver || watch.Elapsed > (compaction ? CompactionLimit : BeginLimit))
            {
                Ended();
                return;
            }

            Thread.Sleep(PollMs);
        }

        // Where compaction is at work it is soon done.
        Thread.Sleep(compaction ? random.Next(20) : (int)load.TotalMilliseconds);
        if (compaction || _node.GetRedundancy() is { IncompleteSlots: > 0 })
        {
            _kills[_kind] = _kills.GetValueOrDefault(_kind) + 1;
            Say($"killed in the midst of {_kind}");
        }
        else
        {
            Ended();
        }
    }

    /// <summary>When the server is down: puts empty folders where drives were lost.</summary>
    public void BeforeStart()
    {
        if (!_replace) return;
        foreach (string drive in _lost)
        {
            if (Directory.Exists(drive)) Directory.Delete(drive, recursive: true);
            Directory.CreateDirectory(drive);
            _drivesFilled++;
        }

        Say($"{_lost.Count} new drives");
        _filling.AddRange(_lost);
        _lost.Clear();
    }

    /// <summary>At the end: nothing drained, every fragment read back.</summary>
    public void MakeWhole()
    {
        _replace = false;
        if (_draining is { } drive) _node.SetState(drive.DriveId, "up");
        _draining = null;
        WaitUntilWhole();
        _node.StartScrub();
        WaitUntilWhole();
    }

    /// <summary>When the server is down.</summary>
    public void TakeAway(IEnumerable<string> drives)
    {
        foreach (string drive in drives.Except(_lost)) Directory.Move(drive, drive + ".away");
    }

    /// <summary>When the server is down.</summary>
    public void PutBack(IEnumerable<string> drives)
    {
        foreach (string drive in drives.Except(_lost))
        {
            if (Directory.Exists(drive)) Directory.Delete(drive, recursive: true);
            Directory.Move(drive + ".away", drive);
        }
    }

    public void Dispose() => _node.Dispose();

    private void WaitUntilWhole()
    {
        Stopwatch watch = Stopwatch.StartNew();
        for (int seen = 0; seen < 3; Thread.Sleep(4 * PollMs))
        {
            Redundancy redundancy = _node.GetRedundancy();
            seen = redundancy.IsWhole && redundancy.UsableDrives == options.Drives - _lost.Count ? seen + 1 : 0;
            if (watch.Elapsed > options.RepairLimit)
                throw new InvalidOperationException($"not whole after {watch.Elapsed.TotalSeconds:f0} s ({_kind}): {redundancy}");
        }

        _wholeSeconds.Add(watch.Elapsed.TotalSeconds);
    }

    /// <summary>Whether it is seen to advance.</summary>
    private bool IsUnderWay(bool compaction, ref double before)
    {
        if (!compaction && _node.GetRedundancy().IncompleteSlots == 0) return false;
        double now = Progress(compaction);
        bool moved = now > before;
        before = now;
        return moved;
    }

    private double Progress(bool compaction) => _node.GetMetric(compaction ? "objectstore_storage_compaction_moved_bytes_total" : "objectstore_repair_fragments_rebuilt_total");

    private void Lose(Random random)
    {
        // One that is drained holds nothing that counts.
        string[] there = [.. Drives.Except(_lost).Where(drive => drive != _draining?.Path)];
        string drive = there[random.Next(there.Length)];
        _lost.Add(drive);
        _drivesLost++;
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                Directory.Delete(drive, recursive: true);
                break;
            }
            catch (IOException) when (attempt < 20)
            {
                // The server has made a file meanwhile.
            }
        }

        Say($"lost {Path.GetFileName(drive)}{(_loseUnderLoad ? " under load" : "")}");
    }

    private void Ended()
    {
        _ended++;
        Say($"{_kind} had ended, or not begun, at the kill");
    }

    private void Say(string what) => Said = Said.Length == 0 ? what : $"{Said}, {what}";
}
