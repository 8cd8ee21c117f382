"""The engine's process: `python -m keyturn_local.server`. It imports nothing by itself: its forks would, too."""

if __name__ == "__main__":
    from keyturn_local.quick_ministack import main

    main()
