"""The frame around every notebook: settings, methods, checks, claims, figures, pages, batch run."""
